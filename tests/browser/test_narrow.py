"""The pages on a phone: one row of navigation, and cards whose values say what they are."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from jobs.keys import create_api_key
from jobs.models import TaskLimit, Tenant, Worker
from jobs.statuses import Status
from tests.factories import make_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenPage = Callable[..., Page]
WORDS = """cells => cells.map(cell => {
  const said = getComputedStyle(cell, "::before").content;
  return (said.startsWith('"') ? said.replaceAll('"', "") : "") + cell.textContent.trim();
})"""
BOTTOMS = "all => [...new Set(all.map(one => Math.round(one.getBoundingClientRect().bottom)))]"


def narrow(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})


def test_the_pages_of_the_bar_stand_in_one_row_with_the_present_one_in_sight(
    open_page: OpenPage, alice: Tenant
) -> None:
    page = open_page(reverse("submit"), narrow)

    pages = page.get_by_role("navigation", name="Pages", exact=True)
    assert len(pages.locator("a").evaluate_all(BOTTOMS)) == 1
    expect(pages.locator("[aria-current]")).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_card_names_its_values(open_page: OpenPage, alice: Tenant) -> None:
    make_job(alice, queue="mail")
    page = open_page(reverse("queues"), narrow)

    said = page.locator("#queue_list tbody td").evaluate_all(WORDS)

    assert {"Queue mail", "Waiting 1", "Workers none"} <= {" ".join(one.split()) for one in said}


LEFTS = "all => [...new Set(all.map(one => Math.round(one.getBoundingClientRect().left)))]"


def test_the_values_of_cards_stand_in_columns_and_those_that_tell_nothing_are_left_out(
    open_page: OpenPage, alice: Tenant
) -> None:
    for queue in ("a", "of-a-longer-name"):
        make_job(alice, Status.DONE, queue=queue)
        make_job(alice, queue=queue)
    page = open_page(reverse("queues"), narrow)

    shown = page.locator("#queue_list tbody td:not(.actions):visible")
    assert len(shown.evaluate_all(LEFTS)) == 2
    said = {" ".join(one.split()) for one in shown.evaluate_all(WORDS)}
    assert "Waiting 1" in said
    assert not any(one.startswith(("Running", "Errors", "Pace")) for one in said)


def test_the_filters_of_the_audit_log_stand_on_one_line(open_page: OpenPage, alice: Tenant) -> None:
    page = open_page(reverse("audit"))

    controls = page.locator(".audit-filter :is(input:not([type=hidden]), select, button)")

    assert controls.count() == 5
    assert len(controls.evaluate_all(BOTTOMS)) == 1


UNNAMED = {"", "Id", "Slug", "Status", "Error", "Key", "State", "At", "Action", "Username"}
"""Columns of the admin's lists that say by themselves what they are."""
CELLS = """() => {
  const all = (selector) => [...document.querySelectorAll(`#result_list ${selector}`)];
  const heads = all("thead th").map((one) => one.textContent.trim());
  const said = (cell) => getComputedStyle(cell, "::before").content;
  return all("tbody tr:first-child > *").map((cell, at) => [heads[at], said(cell)]);
}"""
WIDER = """() => [...document.querySelectorAll("html, .results")]
  .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.outerHTML.slice(0, 90))
"""


def test_the_lists_of_the_admin_fit_every_screen_and_are_cards_on_small_ones(
    open_page: OpenPage, alice: Tenant
) -> None:
    dead = make_job(
        *(alice, Status.DLQ),
        task="shop.tasks.imports.import_feed_of_supplier",
        **{"error_type": "shop.errors.FeedUnreachable", "error_message": 30 * "no answer "},
    )
    TaskLimit.objects.create(tenant=alice, task="echo", max_running=5)
    create_api_key(alice, name="ci", actor="user:ann")
    now = timezone.now()
    Worker.objects.create(id="w1", host="box", pid=7, slots=4, started_at=now, seen_at=now)
    page = open_page("/settings/")
    User.objects.update(is_staff=True, is_superuser=True)
    lists = [reverse(f"admin:{name}_changelist") for name in LISTS]
    asked = reverse("admin:jobs_deadletter_confirm", args=["discard"])

    for path in [*lists, f"{asked}?ids={dead.pk}"]:
        for width in (1400, 820, 390):
            page.set_viewport_size({"width": width, "height": 844})
            page.goto(path)
            assert page.evaluate(WIDER) == [], (path, width)
        for head, said in page.evaluate(CELLS):
            assert said == ("none" if head in UNNAMED else f'"{head}"'), path


LISTS = [f"jobs_{name}" for name in ("deadletter", "job", "tenant", "lane", "apikey")]
LISTS += ["jobs_tasklimit", "jobs_worker", "jobs_auditentry", "auth_user"]
