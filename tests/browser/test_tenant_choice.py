"""Who sees several tenants goes from one to another and keeps the page as it is."""

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from jobs.models import Tenant

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "/jobs/?filter=queue:mail&before=0&tenant=alice",
            "/jobs/?filter=queue:mail&tenant=mallory",
        ),
        ("/?range=7d", "/?range=7d&tenant=mallory"),
        ("/tenants/alice/", "/tenants/?tenant=mallory"),
    ],
)
def test_another_tenant_is_chosen_with_the_filter_and_the_range_kept(
    open_page: Callable[..., Page], alice: Tenant, mallory: Tenant, before: str, after: str
) -> None:
    User.objects.get(username="ann").tenants.add(mallory)
    page = open_page(before)

    page.get_by_label("Tenant", exact=True).select_option("mallory")

    expect(page).to_have_url(re.compile(re.escape(after).replace(":", "(:|%3A)") + "$"))
