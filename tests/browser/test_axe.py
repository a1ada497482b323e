"""Every page is asked by axe-core whether everybody can use it: light and wide, dark and narrow.

`vendor/axe` is axe-core 4.14.1 as npm has it (MPL 2.0, its licence beside it). It is not shipped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from jobs import services
from jobs.keys import create_api_key
from jobs.models import Job, Tenant
from jobs.operations import start
from jobs.statuses import BulkAction, Status
from tests.browser.conftest import log_out
from tests.factories import make_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenPage = Callable[..., Page]
AXE = (Path(__file__).parent / "vendor/axe/axe.min.js").read_text()
ASK = """
async (runOnly) => {
  const how = { preload: false, resultTypes: ["violations"], runOnly };
  const { violations } = await axe.run(document, how);
  const where = (nodes) => nodes.map((node) => node.html.slice(0, 160));
  return violations.map(({ id, impact, nodes }) => ({ id, impact, where: where(nodes) }));
}
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
    *("/", "/?range=7d", "/jobs/", "/jobs/?filter=queue:done", "/jobs/?filter=quue:none"),
    *("/jobs/new", "/dead/", "/operations/", "/keys/", "/keys/new", "/audit/", "/settings/"),
    *("/queues/", "/queues/alice/pending/limits", "/tenants/alice/", "/tenants/alice/limits"),
    "/operations/new?action=discard&filter=status:DLQ",
)


def _of(made: dict[Status, Job], prefix: str, operation: object) -> list[str]:
    jobs = [reverse("job", args=[made[status].pk]) for status in (Status.DLQ, Status.RUNNING)]
    keys = [reverse(name, args=[prefix]) for name in ("rotate-key", "revoke-key")]
    return [*jobs, *keys, reverse("operation", args=[operation])]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 390)])
def test_axe_finds_nothing_serious(
    open_page: OpenPage, paths: list[str], scheme: Literal["light", "dark"], width: int
) -> None:
    page = open_page("/")
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")

    found = {path: problems for path in paths if (problems := _problems(page, path))}

    assert found == {}


def _problems(page: Page, path: str) -> list[dict[str, Any]]:
    answer = page.goto(path)
    assert answer is not None
    assert answer.ok, path
    return _ask(page)


def _ask(page: Page) -> list[dict[str, Any]]:
    page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate(ASK, RULES)
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
