"""Every address of the dashboard, by every method, as everybody: who may, and what it changes.

A route that is not in the table fails the test: who adds one says here whose it is.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple
from unittest.mock import create_autospec

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dashboard.consumers import LiveConsumer
from dashboard.snapshot import REGIONS
from dashboard.stream import Feed
from dashboard.urls import urlpatterns
from jobqueue_project.asgi import application
from jobs import operations
from jobs.keys import create_api_key
from jobs.models import Lane, Role, SavedView, Tenant, Worker
from jobs.statuses import BulkAction, Status
from tests.factories import make_job

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
EVERYBODY = frozenset(
    ("anonymous", "stranger", "viewer", "reader", "operator", "admin", "onlooker", "root")
)
SEEING = EVERYBODY - {"anonymous", "stranger"}
OPERATORS = frozenset(("operator", "admin", "root"))
ADMINS = frozenset(("admin", "root"))
READERS = frozenset(("reader", "root"))
STAFF = frozenset(("onlooker", "root"))
ROOT = frozenset(("root",))
LOGGED_IN = EVERYBODY - {"anonymous"}
NOBODY: frozenset[str] = frozenset()
WRITING = re.compile(r"\b(INSERT|UPDATE|DELETE)\b.*\bjobs_", re.S)


class Route(NamedTuple):
    """An address and who may use it; `args` and values of `data` are words, or names of what is
    in the world."""

    name: str
    args: tuple[str, ...] = ()
    get: Collection[str] = SEEING
    post: Collection[str] = NOBODY
    data: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    has_get: bool = True
    has_post: bool = False
    changes: bool = True
    """Whether a POST that is allowed writes something."""


def page(name: str, /, *args: str, get: Collection[str] = SEEING, **query: str) -> Route:
    """A page that is only looked at."""
    return Route(name, args, get=get, query=query)


def asked(name: str, /, *args: str, by: Collection[str], **data: str) -> Route:
    """A form or a question, and what it does."""
    return Route(name, args, get=by, post=by, data=data, has_post=True)


def done(name: str, /, *args: str, by: Collection[str], **data: str) -> Route:
    """What is done by a button alone."""
    return Route(name, args, get=NOBODY, post=by, data=data, has_get=False, has_post=True)


JOB = {"task": "echo", "payload": "1", "queue": "q", "priority": "0", "delay_seconds": "0"}
QUEUE = {"weight": "1", "start_burst": "1"}
PUBLIC = (
    Route("favicon", get=EVERYBODY),
    Route("login", get=EVERYBODY, post=EVERYBODY, has_post=True, changes=False),
    Route("logout", post=EVERYBODY, has_get=False, has_post=True, changes=False),
)
ROUTES = (
    *PUBLIC,
    page("overview"),
    page("jobs"),
    page("dead"),
    page("operations"),
    page("job", "waiting"),
    page("job", "dead"),
    page("stored-json", "done", "payload", get=READERS),
    page("stored-json", "done", "result", get=READERS),
    page("operation", "operation"),
    page("find", q="alice"),
    page("filter-values", word="queue", start="d"),
    done("save-view", by=SEEING, name="mine", filter="queue:waiting"),
    asked("delete-view", "view", by=NOBODY),
    done("act-on-chosen", by=OPERATORS, action="retry", id="failed"),
    done("export-jobs", by=READERS, format="csv"),
    page("settings"),
    page("log-text", "done", "1", get=READERS),
    asked("submit", by=OPERATORS, tenant="alice", **JOB),
    *(
        asked("act-on-job", job, action, by=OPERATORS)
        for job, action in (
            *(("waiting", "cancel"), ("failed", "retry")),
            *(("dead", "redrive"), ("dead", "discard")),
        )
    ),
    asked("start-operation", by=OPERATORS, action="cancel", filter="status:PENDING"),
    done("cancel-operation", "operation", by=OPERATORS),
    page("queues"),
    asked("pause-queue", "alice", "default", by=OPERATORS, reason="a move"),
    asked("resume-queue", "alice", "paused", by=OPERATORS),
    asked("queue-limits", "alice", "default", by=ADMINS, max_running="3", **QUEUE),
    page("keys", get=ADMINS),
    asked("new-key", by=ADMINS, tenant="alice", scopes="submit"),
    asked("rotate-key", "key", by=ADMINS, overlap="0"),
    asked("revoke-key", "key", by=ADMINS),
    page("audit", get=ADMINS),
    page("tenants"),
    page("tenant", "alice"),
    asked("tenant-limits", "alice", by=ADMINS, max_running="3", **QUEUE),
    asked("set-suspended", "alice", "suspend", by=ROOT),
    asked("set-suspended", "alice", "resume", by=ROOT)._replace(changes=False),
    done("member", "alice", "member", by=ADMINS, role="operator"),
    asked("remove-member", "alice", "member", by=ADMINS),
    page("workers", get=STAFF),
    *(asked("ask-worker", "w", action, by=ROOT) for action in ("quiet", "stop", "resume")),
)


@pytest.fixture
def world(alice: Tenant) -> dict[str, str]:
    """What there is to be seen and changed, by name: the names of routes' arguments."""
    made = {
        name: str(make_job(alice, status, queue=name).pk)
        for name, status in {
            "done": Status.DONE,
            "dead": Status.DLQ,
            "failed": Status.FAILED,
            "waiting": Status.PENDING,
        }.items()
    }
    Lane.objects.create(tenant=alice, queue="default")
    Lane.objects.create(tenant=alice, queue="paused", is_paused=True)
    now = timezone.now()
    Worker.objects.create(id="w", host="h", pid=1, slots=4, started_at=now, seen_at=now)
    member = User.objects.create_user("mia")
    alice.members.add(member)
    view = SavedView.objects.create(user=member, tenant=alice, name="hers", filter="queue:waiting")
    key, _ = create_api_key(alice, scopes=["submit"], actor="command:test")
    begun = operations.start(alice, BulkAction.CANCEL, "queue:waiting", actor="command:test")
    others = {"operation": begun.pk, "key": key.prefix, "member": member.pk, "view": view.pk}
    return made | {name: str(one) for name, one in others.items()}


@pytest.fixture
def browser_of(
    log_in: Callable[..., Client], alice: Tenant, mallory: Tenant
) -> Callable[[str], Client]:
    """Answers the browser of one of `EVERYBODY`."""

    def make(who: str) -> Client:
        match who:
            case "anonymous":
                return Client()
            case "stranger":
                return log_in(who, mallory)
            case "onlooker":
                return log_in(who, is_staff=True)
            case "root":
                client = Client()
                client.force_login(User.objects.create_superuser(who))
                return client
            case "reader":
                return log_in(who, alice, role=Role.VIEWER, sees_payloads=True)
            case _:
                return log_in(who, alice, role=who, sees_payloads=False)

    return make


def test_every_route_is_in_the_table() -> None:
    assert {route.name for route in ROUTES} == {pattern.name for pattern in urlpatterns}


@pytest.mark.parametrize("who", sorted(EVERYBODY))
def test_everybody_may_do_what_the_table_says_and_nothing_else(
    browser_of: Callable[[str], Client], world: dict[str, str], who: str
) -> None:
    client, before = browser_of(who), _everything()
    wrong = [
        f"{method} {address} as {who}: {complaint}"
        for route in ROUTES
        for method in METHODS
        for address, complaint in _complaints(client, route, method, who, world, before)
    ]
    assert not wrong, "\n".join(wrong)


def _complaints(
    client: Client, route: Route, method: str, who: str, world: dict[str, str], before: list[Any]
) -> Iterator[tuple[str, str]]:
    address = reverse(route.name, args=[world.get(arg, arg) for arg in route.args])
    is_of_alice = bool(route.args) or route in PUBLIC
    query = dict(route.query) | ({} if is_of_alice else {"tenant": "alice"})
    data = {name: world.get(value, value) for name, value in route.data.items()}
    cookies = deepcopy(client.cookies)
    with transaction.atomic(), _writes() as writes:
        answer: Any = (
            client.post(address, data, query_params=query)
            if method == "POST"
            else client.generic(method, address, query_params=query | data)
        )
        has_changed = bool(writes) and method in {"GET", "POST"} and _everything() != before
        transaction.set_rollback(True)
    client.cookies = cookies
    for complaint in _judged(route, method, who, answer, has_changed):
        yield address, complaint


def _judged(route: Route, method: str, who: str, answer: Any, has_changed: bool) -> Iterator[str]:
    has = {"GET": route.has_get, "HEAD": route.has_get, "POST": route.has_post}
    may = who in (route.post if method == "POST" else route.get)
    expected, status = _expected(route, who, may, has.get(method, False)), answer.status_code
    if status not in expected:
        yield f"{status} instead of {sorted(expected)}"
    elif status == 302 and not may and not answer["Location"].startswith(reverse("login")):
        yield f"leads to {answer['Location']}"
    should_change = may and method == "POST" and route.has_post and route.changes
    if has_changed != should_change:
        yield "changed something" if has_changed else "changed nothing"


def _expected(route: Route, who: str, may: bool, is_method: bool) -> set[int]:
    if not is_method:
        return {405} | ({200, 302} if route in PUBLIC else set())
    if may:
        return {200, 302}
    if who == "anonymous":
        return {302}
    return {404} if who == "stranger" else {403, 404}


@contextmanager
def _writes() -> Iterator[list[str]]:
    """Collects the statements that may have changed the project's tables."""
    writes: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if WRITING.search(sql):
            writes.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield writes


def _everything() -> list[Any]:
    """All rows of the project."""
    models = apps.get_app_config("jobs").get_models()
    return [sorted(map(repr, model._default_manager.values_list())) for model in models]


@pytest.mark.parametrize("who", ["viewer", "reader", "operator", "admin"])
def test_no_member_fetches_a_region_of_the_machines(
    browser_of: Callable[[str], Client], world: dict[str, str], who: str
) -> None:
    every_region = ",".join(REGIONS)
    page = browser_of(who).get(reverse("overview"), {"partial": every_region})
    assert b'data-region="tiles"' in page.content
    assert b'id="worker-w"' not in page.content


@pytest.mark.parametrize("who", sorted(EVERYBODY))
def test_a_login_on_the_pages_opens_no_other_door(
    browser_of: Callable[[str], Client], world: dict[str, str], who: str
) -> None:
    client = browser_of(who)
    for address in ("/api/v1/jobs", "/api/v1/events", "/api/v1/keys", "/api/v1/audit"):
        assert client.get(address).status_code == 401
    may_enter = who in STAFF
    assert (client.get("/admin/").status_code == 200) is may_enter


@pytest.mark.parametrize("who", sorted(EVERYBODY))
@pytest.mark.django_db(transaction=True)
async def test_the_live_feed_is_for_those_who_see_the_tenant(
    browser_of: Callable[[str], Client], who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveConsumer, "feed", create_autospec(Feed, instance=True))
    client = await database_sync_to_async(browser_of)(who)
    cookie = client.cookies.get(settings.SESSION_COOKIE_NAME)
    headers = [(b"origin", b"http://localhost"), (b"host", b"localhost")]
    if cookie:
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie.value}".encode()))
    socket = WebsocketCommunicator(application, "/ws/live?tenant=alice", headers=headers)
    await socket.connect()
    first = await socket.receive_output(60)
    if who in SEEING:
        assert first["type"] == "websocket.send"
    else:
        codes = {"anonymous": 4401, "stranger": 4404}
        assert (first["type"], first["code"]) == ("websocket.close", codes[who])
    await socket.disconnect()
    await database_sync_to_async(connections.close_all)()
