"""Every page is asked by axe-core whether everybody can use it, on screens of any width.

Ann sees the pages of her tenant, Olga those of operators and the admin.

`vendor/axe` is axe-core 4.14.1 as npm has it (MPL 2.0, its licence beside it). It is not shipped.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from django.conf import settings
from django.contrib.admin.templatetags.admin_urls import admin_urlname
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from jobs import services
from jobs.keys import create_api_key
from jobs.models import ApiKey, AuditEntry, Job, Lane, TaskLimit, Tenant, Worker
from jobs.operations import start
from jobs.statuses import BulkAction, Status
from tests.browser.conftest import log_out, watched
from tests.factories import make_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenPage = Callable[..., Page]
AXE = (Path(__file__).parent / "vendor/axe/axe.min.js").read_text()
ASK = """
async ([runOnly, within]) => {
  const how = { preload: false, resultTypes: ["violations"], runOnly };
  const { violations } = await axe.run(within, how);
  const where = (nodes) => nodes.map((node) => node.html.slice(0, 160));
  return violations.map(({ id, impact, nodes }) => ({ id, impact, where: where(nodes) }));
}
"""
BOXES_ARE_MADE = """
() => [...document.querySelectorAll("select.admin-autocomplete:not([name*=__prefix__])")]
  .every((field) => field.nextElementSibling?.querySelector("[aria-label]"))
"""
REFUSED = {"serious", "critical"}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture
def paths(alice: Tenant) -> list[str]:
    """The addresses of pages of all kinds, with something on each."""
    made = {status: make_job(alice, status, queue=status.lower()) for status in _STATUSES}
    services.set_queue_paused(alice, "pending", paused=True, actor="user:ann")
    services.change_limits(alice, actor="user:ann", max_running=1)
    key, _ = create_api_key(alice, name="ci", actor="user:ann")
    operation = start(alice, BulkAction.REDRIVE, "status:DLQ", actor="user:ann")
    return [*_PLAIN, *_of(made, key.prefix, operation.pk)]


_STATUSES = [status for status in Status if status is not Status.BLOCKED]
_PLAIN = (
    *(
        "/",
        "/?range=7d",
        "/?queue=done",
        "/jobs/",
        "/jobs/?filter=queue:done",
        "/jobs/?filter=quue:none",
    ),
    *("/jobs/new", "/dead/", "/operations/", "/keys/", "/keys/new", "/audit/", "/settings/"),
    *(
        "/queues/",
        "/queues/alice/done/pause",
        "/queues/alice/pending/limits",
        "/tenants/alice/",
        "/tenants/alice/limits",
    ),
    "/operations/new?action=discard&filter=status:DLQ",
)


def _of(made: dict[Status, Job], prefix: str, operation: object) -> list[str]:
    jobs = [reverse("job", args=[made[status].pk]) for status in (Status.DLQ, Status.RUNNING)]
    keys = [reverse(name, args=[prefix]) for name in ("rotate-key", "revoke-key")]
    jobs.append(reverse("act-on-job", args=[made[Status.PENDING].pk, "cancel"]))
    return [*jobs, *keys, reverse("operation", args=[operation])]


Scheme = Literal["light", "dark"]
LOOKS: list[tuple[Scheme, tuple[int, ...]]] = [("light", (1400, 820)), ("dark", (390,))]


@pytest.mark.parametrize(("scheme", "widths"), LOOKS)
def test_axe_finds_nothing_serious(
    open_page: OpenPage, paths: list[str], scheme: Scheme, widths: tuple[int, ...]
) -> None:
    page = open_page("/")
    _look(page, scheme, widths[0])

    found = {path: problems for path in paths if (problems := _problems(page, path, widths))}

    assert found == {}


def _look(page: Page, scheme: Scheme, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")


def _problems(page: Page, path: str, widths: Sequence[int]) -> list[dict[str, Any]]:
    answer = page.goto(path)
    assert answer is not None
    assert answer.ok, path
    page.wait_for_function(BOXES_ARE_MADE)
    found = []
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        found += _ask(page)
    return found


def _ask(page: Page, within: str = "html") -> list[dict[str, Any]]:
    page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate(ASK, [RULES, within])
    return [problem for problem in found if problem["impact"] in REFUSED]


def test_axe_finds_nothing_serious_in_the_palette_and_before_the_login(
    open_page: OpenPage, paths: list[str]
) -> None:
    page = open_page("/")
    page.keyboard.press("Control+k")
    page.locator("#palette input").fill("a")
    expect(page.locator("#palette li").first).to_be_visible()
    assert _ask(page) == []

    page.keyboard.press("Escape")
    log_out(page)
    expect(page.get_by_label("Password")).to_be_visible()
    assert _ask(page) == []


@pytest.mark.parametrize(("scheme", "widths"), LOOKS)
def test_axe_finds_nothing_serious_in_what_opens(
    operators_page: Page, scheme: Scheme, widths: tuple[int, ...]
) -> None:
    page = operators_page
    _look(page, scheme, widths[-1])
    page.goto("/jobs/")
    for act, opened in _OPENING:
        act(page)
        expect(page.locator(opened).locator("li, a, button").first).to_be_visible()
        assert _ask(page, opened) == []
        page.keyboard.press("Escape")


def _call_up_the_palette(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.locator("#palette input").fill("a")


def _choose_all(page: Page) -> None:
    for box in page.locator("td.pick input").all():
        box.check()


_OPENING: list[tuple[Callable[[Page], None], str]] = [
    (lambda page: page.keyboard.press("?"), "#keys"),
    (_call_up_the_palette, "#palette"),
    (_choose_all, "#chosen"),
    (lambda page: page.locator("#search").press_sequentially("queue:"), "#completions"),
    (lambda page: page.locator(".menu summary").click(), ".menu-box"),
]


@pytest.fixture
def operators_page(browser: Browser, server: str, paths: list[str]) -> Iterator[Page]:
    """A page that Olga, who may do everything, has logged in on."""
    client = Client()
    client.force_login(User.objects.create_superuser("olga"))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    with watched(browser, server) as context:
        context.set_default_timeout(60_000)
        name = settings.SESSION_COOKIE_NAME
        context.add_cookies([{"name": name, "value": session, "url": server}])
        yield context.new_page()


@pytest.fixture
def operators_paths(paths: list[str], alice: Tenant, mallory: Tenant) -> list[str]:
    """The addresses that only operators see, with something on each."""
    services.set_task_limit(alice, "echo", actor="user:olga", max_running=3)
    now = timezone.now()
    Worker.objects.create(id="w1", host="box", pid=7, slots=4, started_at=now, seen_at=now)
    dead = make_job(mallory, Status.DLQ, traceback="Traceback: it broke")
    letters = reverse("admin:jobs_deadletter_changelist")
    letter = f"{letters}{dead.pk}/"
    asked = f"{letters}confirm/discard/?ids={dead.pk}"
    rows: list[Any] = [
        User.objects.get(username="olga"),
        dead,
        alice,
        TaskLimit.objects.get(),
        AuditEntry.objects.latest("pk"),
        Lane.objects.latest("pk"),
        ApiKey.objects.latest("pk"),
    ]
    changed = [reverse(admin_urlname(row._meta, "change"), args=[row.pk]) for row in rows]  # type: ignore[arg-type]
    return [*_OPERATORS, *_LISTS, *changed, asked, f"{letter}change/", f"{letter}edit/"]


_OPERATORS = (
    *("/tenants/", "/tenants/mallory/suspend", "/workers/", "/workers/w1/stop", "/queues/"),
    *("/keys/", "/audit/", "/settings/", "/jobs/", "/admin/", "/admin/jobs/apikey/add/"),
    *("/admin/jobs/tasklimit/add/", "/admin/auth/user/", "/admin/auth/group/add/"),
    *("/admin/auth/user/add/", "/admin/password_change/", "/admin/jobs/worker/w1/change/"),
    "/admin/jobs/deadletter/?tenant=mallory",
)
_NAMES = ("deadletter", "job", "tenant", "lane", "tasklimit", "apikey", "worker", "auditentry")
_LISTS = tuple(f"/admin/jobs/{name}/" for name in _NAMES)


@pytest.mark.parametrize(("scheme", "widths"), LOOKS)
def test_axe_finds_nothing_serious_for_operators_and_in_the_admin(
    operators_page: Page, operators_paths: list[str], scheme: Scheme, widths: tuple[int, ...]
) -> None:
    page = operators_page
    _look(page, scheme, widths[0])

    found = {
        path: problems for path in operators_paths if (problems := _problems(page, path, widths))
    }
    assert found == {}
    page.goto(operators_paths[-1])
    page.get_by_label("Payload").fill("[1]")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("ins").first).to_be_visible()
    assert _ask(page) == []
