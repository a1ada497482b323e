"""A NUL, which PostgreSQL cannot hold, is refused wherever an address could carry one."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLResolver, get_resolver

from jobs.keys import create_api_key
from jobs.models import Tenant
from tests.api.conftest import Caller, problem

pytestmark = pytest.mark.django_db

NUL = "%00"
PARAMETERS = (
    *("tenant", "status", "queue", "task", "tag", "text", "before", "after", "error_type"),
    *("range", "partial", "cursor", "limit", "created_after", "q", "error", "reason", "paused"),
    *("ids", "next", "term", "p", "_changelist_filters"),
)


def addresses(resolver: URLResolver | None = None, prefix: str = "/") -> Iterator[str]:
    """Every address of the project, with a NUL for each of its parameters."""
    resolver = resolver or get_resolver()
    for name in resolver.reverse_dict:
        for possibilities, *_ in resolver.reverse_dict.getlist(name):
            for template, parameters in possibilities:
                yield prefix + template % dict.fromkeys(parameters, NUL)
    for inner_prefix, inner in resolver.namespace_dict.values():
        yield from addresses(inner, prefix + inner_prefix)


PATHS = sorted(set(addresses()))


@pytest.fixture
def root(db: None) -> Client:
    """Somebody who may do everything, on the pages and by the API."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def key(alice: Tenant) -> dict[str, str]:
    text = create_api_key(alice, actor="command:test", scopes=["admin"])[1]
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_no_address_with_a_nul_fails(root: Client, key: dict[str, str], method: str) -> None:
    assert len(PATHS) > 60
    for path in (path for path in PATHS if NUL in path):
        assert root.generic(method, path, headers=key).status_code in {400, 404, 405}, path


def test_no_parameter_with_a_nul_fails(root: Client, key: dict[str, str]) -> None:
    for path in (path for path in PATHS if NUL not in path):
        is_api = path.startswith("/api/")
        # Pages refuse it whatever its name, and the description reads none, but takes a second.
        for name in PARAMETERS if is_api and path != "/api/schema/" else PARAMETERS[:1]:
            answer = root.get(f"{path}?{name}=a{NUL}b", headers=key)
            expected = {200, 400, 401, 404, 405} if is_api else {400}
            assert answer.status_code in expected, f"{path}?{name}"


def test_a_session_cookie_with_a_nul_is_refused(db: None) -> None:
    client = Client(headers={"Cookie": 'sessionid="abcdefgh\\000"'})

    assert client.get("/").status_code == 400


def test_the_api_knows_no_queue_of_such_a_name(api: Caller) -> None:
    problem(api.post("/queues/%00/pause"), 400, "invalid_name")
    problem(api.post("/queues/a%00/resume"), 400, "invalid_name")


@pytest.mark.parametrize("query", ["q=%2500", "q=a"])
def test_other_texts_pass(root: Client, query: str, make_tenant: Callable[..., Tenant]) -> None:
    make_tenant("a")

    assert root.get(f"/admin/jobs/tenant/?{query}").status_code == 200
