"""Every page in a browser that holds it to the policy; on narrow screens and by keyboard too."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from jobs import operations
from jobs.models import Job, Tenant, WaitMinute
from jobs.statuses import Status
from tests.browser.conftest import log_in
from tests.factories import make_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenPage = Callable[..., Page]
STATUSES = [status for status in Status if status is not Status.BLOCKED]


@pytest.fixture
def jobs(alice: Tenant) -> dict[Status, Job]:
    """A job in every status."""
    return {status: make_job(alice, status, queue=status.lower()) for status in STATUSES}


@pytest.mark.parametrize("width", [1400, 390])
def test_no_page_breaks_the_policy_or_its_width(
    open_page: OpenPage, jobs: dict[Status, Job], width: int
) -> None:
    page = open_page("/")
    page.set_viewport_size({"width": width, "height": 900})
    details = [reverse("job", args=[job.pk]) for job in jobs.values()]

    for path in (
        "/",
        "/jobs/",
        "/jobs/?filter=quue:none -tag:test",
        "/jobs/new",
        "/dead/",
        "/operations/",
        "/operations/new?action=discard&filter=status:DLQ",
        *details,
    ):
        page.goto(path)
        page.wait_for_timeout(150)
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0, f"{path} is {wider} pixels too wide"


def test_the_charts_are_drawn(open_page: OpenPage, jobs: dict[Status, Job]) -> None:
    page = open_page("/")

    expect(page.locator(".plot canvas")).to_have_count(2)


@pytest.mark.parametrize("width", [1400, 390])
def test_the_p95_is_told_under_the_cursor(open_page: OpenPage, alice: Tenant, width: int) -> None:
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    WaitMinute.objects.bulk_create(
        WaitMinute(tenant_id=alice.pk, minute=today - timedelta(days=day), bucket=40, attempts=1)
        for day in range(30)
    )
    page = open_page("/")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/?range=30d")
    plot = page.locator('[data-plot="wait"]')
    expect(plot.locator("canvas")).to_be_visible()
    plot.scroll_into_view_if_needed()

    box = plot.locator(".u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + 21)

    expect(page.locator("#wait-at")).to_have_text(re.compile(r"p95 [1-9][\d.]* s, oldest "))


def test_a_filter_narrows_the_list_and_the_address(
    open_page: OpenPage, jobs: dict[Status, Job]
) -> None:
    page = open_page("/jobs/")

    page.locator("#search").fill("queue:done status:DONE")
    page.locator("#search").press("Enter")
    expect(page.locator("tr[data-href]")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"/jobs/\?filter=queue(:|%3A)done"))

    page.get_by_role("link", name="Remove queue:done").click()
    expect(page.locator("#search")).to_have_value("status:DONE")


SLOW_REGIONS = """
const text = Response.prototype.text;
Response.prototype.text = async function () {
  const read = await text.call(this);
  if (!this.url.includes("partial=")) return read;
  window.isReading = true;
  await new Promise((resolve) => (window.readOn = resolve));
  setTimeout(() => (window.isShown = true), 100);
  return read;
};
"""


def test_a_live_update_asked_before_a_filter_does_not_undo_it(
    open_page: OpenPage, jobs: dict[Status, Job]
) -> None:
    page = open_page("/jobs/", lambda page: page.add_init_script(SLOW_REGIONS))
    page.wait_for_function("() => window.isReading")

    page.locator("#search").fill("queue:done")
    page.locator("#search").press("Enter")
    expect(page.locator("tr[data-href]")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"filter=queue"))
    page.evaluate("window.readOn()")
    page.wait_for_function("() => window.isShown")

    expect(page.locator("tr[data-href]")).to_have_count(1)


def test_the_keyboard_goes_everywhere(open_page: OpenPage, jobs: dict[Status, Job]) -> None:
    page = open_page("/")

    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("/jobs/"))
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Tab")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog#keys")).to_be_hidden()
    page.wait_for_function("document.activeElement === document.body")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    chosen = page.locator("tr[data-at]").get_attribute("data-href")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"{chosen}$"))


def test_the_theme_is_chosen_and_kept(open_page: OpenPage) -> None:
    page = open_page("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)

    page.locator("#theme").click()
    page.locator("#theme").click()
    dark = page.evaluate(ground)
    page.goto("/jobs/")

    assert light != dark
    assert page.evaluate(ground) == dark


def test_a_dead_letter_is_redriven_by_hand(open_page: OpenPage, jobs: dict[Status, Job]) -> None:
    page = open_page("/dead/")

    page.locator("table.rows").get_by_role("button", name="Redrive").click()

    expect(page.locator("#messages")).to_contain_text("ready to run again")
    assert Job.objects.get(pk=jobs[Status.DLQ].pk).status == Status.PENDING


def test_a_group_is_discarded_after_a_question_and_followed_to_its_end(
    open_page: OpenPage, jobs: dict[Status, Job]
) -> None:
    page = open_page("/dead/")

    page.locator("table.groups").get_by_role("link", name="Discard").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Discard 1 job?")
    page.get_by_role("button", name="Yes, discard 1").click()
    badge = page.locator("h1 .badge")
    expect(badge).to_have_text("running")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.evaluate("window.marked = true")

    while operations.step("w") == 0:
        pass

    expect(badge).to_have_text("done")
    assert page.evaluate("window.marked") is True
    assert not Job.objects.filter(pk=jobs[Status.DLQ].pk).exists()


def test_the_pages_work_without_scripts(
    browser: Browser, open_page: OpenPage, jobs: dict[Status, Job], alice: Tenant
) -> None:
    at = open_page("/").url
    page = browser.new_page(java_script_enabled=False)

    page.goto(f"{at}jobs/")
    log_in(page)
    page.locator("#search").fill("queue:failed")
    page.get_by_role("button", name="Filter").click()
    page.locator("#jobs").get_by_role("checkbox").last.check()
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("#messages")).to_contain_text("1 ready to run again")

    page.goto(f"{at}queues/?name=pending")
    page.get_by_role("link", name="Pause pending").click()
    page.locator('[name="reason"]').fill("a move")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#queue_list")).to_contain_text("a move")
    page.get_by_role("button", name="Resume pending").click()
    expect(page.locator("#queue_list")).not_to_contain_text("a move")

    page.locator(".menu summary").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    page.close()


def test_a_bar_of_the_chart_leads_to_the_jobs_that_ended_in_it(
    open_page: OpenPage, alice: Tenant
) -> None:
    job = make_job(alice, Status.DONE, queue="mail")
    page = open_page("/?queue=mail&range=30d")
    plot = page.locator("[data-plot=ended] .u-over")
    box = plot.bounding_box()
    assert box is not None

    plot.click(position={"x": box["width"] * (1 - 0.5 / 30), "y": box["height"] / 2})

    expect(page.locator(f"#job-{job.pk}")).to_be_visible()
    expect(page.locator("#search")).to_have_value(re.compile("queue:mail created:<.* finished:>="))


def test_limits_are_edited_in_the_row_that_shows_them(
    open_page: OpenPage, jobs: dict[Status, Job]
) -> None:
    page = open_page("/queues/")
    page.get_by_role("link", name="Limits of pending").click()
    running = page.get_by_label("Max running")
    running.fill("-3")
    running.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("greater than or equal to 1")
    running.fill("3")
    running.press("Enter")
    expect(page.get_by_role("row", name="pending")).to_contain_text("0/3")
