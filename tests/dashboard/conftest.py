"""People who look at the dashboard: an admin of Alice's tenant, an operator, a stranger."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from jobs.models import Role, Tenant


@pytest.fixture
def log_in(db: None) -> Callable[..., Client]:
    """Makes users and answers a browser they are logged in with."""

    def make(
        name: str,
        *tenants: Tenant,
        is_staff: bool = False,
        role: str = Role.ADMIN,
        sees_payloads: bool = True,
    ) -> Client:
        user = User.objects.create_user(name, password="a secret", is_staff=is_staff)
        rights = {"role": role, "sees_payloads": sees_payloads}
        user.tenants.set(tenants, through_defaults=rights)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def ann(log_in: Callable[..., Client], alice: Tenant) -> Client:
    """An admin of Alice's tenant."""
    return log_in("ann", alice)


@pytest.fixture
def viewer(log_in: Callable[..., Client], alice: Tenant) -> Client:
    """A member of Alice's tenant who may look, and not at payloads."""
    return log_in("vera", alice, role=Role.VIEWER, sees_payloads=False)


@pytest.fixture
def operator(log_in: Callable[..., Client]) -> Client:
    """Staff who see every tenant, may read payloads and act."""
    client = log_in("olga", is_staff=True)
    permissions = Permission.objects.filter(codename__in=("operate_job", "view_payload"))
    User.objects.get(username="olga").user_permissions.set(permissions)
    return client


@pytest.fixture
def onlooker(log_in: Callable[..., Client]) -> Client:
    """Staff without any permission: sees every tenant, and no more."""
    return log_in("oscar", is_staff=True)


@pytest.fixture
def stranger(log_in: Callable[..., Client], mallory: Tenant) -> Client:
    """An admin of another tenant than Alice's."""
    return log_in("max", mallory)
