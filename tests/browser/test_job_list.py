"""The list of jobs under the hands of a person: choosing rows, the filter box, a log that grows."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Locator, Page, expect

from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.store import Logged, keep_log
from tests.factories import copy_job, make_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenPage = Callable[..., Page]
COMPLETION_MS = 120
"""After so long without another letter the filter box looks for what to offer."""


def test_rows_are_chosen_by_key_and_range_and_stay_chosen(
    open_page: OpenPage, alice: Tenant
) -> None:
    for number in range(4):
        make_job(alice, Status.FAILED, queue=f"q{number}")
    page = open_page("/jobs/?filter=status:FAILED")
    boxes, count = page.locator('#jobs input[name="id"]'), page.locator("#chosen-count")
    expect(page.locator("#chosen")).to_be_hidden()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")

    page.locator("body").press("j")
    page.locator("body").press("x")
    expect(count).to_have_text("1 chosen")
    expect(page.locator("#search")).to_be_hidden()
    boxes.nth(2).click(modifiers=["Shift"])
    expect(count).to_have_text("3 chosen")

    make_job(alice, Status.FAILED, queue="new")
    expect(boxes).to_have_count(5)
    expect(count).to_have_text("3 chosen")
    expect(boxes.first).not_to_be_checked()

    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("#messages")).to_contain_text("3 ready to run again")
    assert Job.objects.filter(status="PENDING").count() == 3


def test_chosen_rows_are_offered_what_can_be_done_to_them(
    open_page: OpenPage, alice: Tenant
) -> None:
    waiting, dead = make_job(alice, queue="q1"), make_job(alice, Status.DLQ)
    page = open_page("/jobs/")
    actions = page.locator("#chosen button[name=action]:visible")

    page.locator(f'#jobs input[value="{dead.pk}"]').check()
    expect(actions).to_have_text(["Redrive", "Discard…"])
    page.locator(f'#jobs input[value="{waiting.pk}"]').check()
    expect(actions).to_have_text(["Cancel…", "Redrive", "Discard…"])
    page.locator(f'#jobs input[value="{dead.pk}"]').uncheck()
    expect(actions).to_have_text(["Cancel…"])


def scroll_to(row: Locator) -> None:
    row.scroll_into_view_if_needed()
    assert row.page.evaluate("scrollY") > 300


@pytest.mark.parametrize("width", [390, 1400])
def test_what_can_be_done_to_chosen_rows_stays_in_view(
    open_page: OpenPage, alice: Tenant, width: int
) -> None:
    copy_job(make_job(alice, Status.FAILED), 40)
    page = open_page(
        "/jobs/?filter=status:FAILED",
        lambda page: page.set_viewport_size({"width": width, "height": 844}),
    )
    boxes = page.locator('#jobs input[name="id"]')
    boxes.first.check()

    scroll_to(boxes.last)

    expect(page.locator("#chosen-count")).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("#messages")).to_contain_text("1 ready to run again")


@pytest.mark.parametrize("width", [390, 1400])
def test_the_actions_of_the_admin_stay_in_view(
    open_page: OpenPage, alice: Tenant, width: int
) -> None:
    User.objects.filter(username="ann").update(is_staff=True, is_superuser=True)
    copy_job(make_job(alice, Status.DLQ), 40)
    page = open_page(
        reverse("admin:jobs_deadletter_changelist"),
        lambda page: page.set_viewport_size({"width": width, "height": 844}),
    )

    scroll_to(page.locator("#result_list .action-select").last)

    expect(page.locator(".actions select")).to_be_in_viewport(ratio=1)


def filter_box(page: Page) -> tuple[Locator, Locator]:
    """The box, and what it offers."""
    offers = page.locator("#completions").get_by_role("option")
    return page.get_by_role("combobox", name="Filter"), offers


def test_the_filter_box_completes_words_and_values(open_page: OpenPage, alice: Tenant) -> None:
    make_job(alice, queue="email")
    make_job(alice, queue="other")
    page = open_page("/jobs/")
    box, offers = filter_box(page)

    box.press_sequentially("que")
    expect(offers).to_have_text(["queue:"])
    box.press("ArrowDown")
    box.press("Enter")
    expect(box).to_have_value("queue:")
    expect(offers).to_have_text(["email", "other"])
    box.press_sequentially("em")
    expect(offers).to_have_text(["email"])
    box.press("ArrowDown")
    box.press("Tab")
    expect(box).to_have_value("queue:email ")
    expect(offers).to_have_count(0)
    box.press("Enter")
    expect(page.locator("#jobs tr[data-href]")).to_have_count(1)


def test_what_is_chosen_stays_chosen_when_it_is_offered_anew(
    open_page: OpenPage, alice: Tenant
) -> None:
    page = open_page("/jobs/")
    box, offer = filter_box(page)
    box.press_sequentially("qu")
    expect(offer).to_have_text(["queue:"])
    box.press_sequentially("e")
    box.press("ArrowDown")
    page.wait_for_timeout(3 * COMPLETION_MS)
    expect(offer).to_have_attribute("aria-selected", "true")
    box.press("Enter")
    expect(box).to_have_value("queue:")


def test_the_log_of_a_running_job_grows(open_page: OpenPage, alice: Tenant) -> None:
    job = make_job(alice, Status.RUNNING)

    def log(number: int) -> None:
        at = datetime.now(UTC)
        told = {"job_id": job.pk, "fence": job.fence, "attempt": 1, "at": at, "level": 20}
        keep_log([Logged(number=number, message=f"line no. {number}", **told)])

    log(1)
    page = open_page(reverse("job", args=[job.pk]))
    expect(page.locator("#logs li")).to_have_count(1)
    log(2)
    expect(page.locator("#logs li")).to_have_count(2)
    expect(page.locator("#logs li").last).to_contain_text("line no. 2")
