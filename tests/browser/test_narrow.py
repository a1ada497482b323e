"""The pages on a phone: one row of navigation, and cards whose values say what they are."""

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from jobs.models import Tenant
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


def test_the_filters_of_the_audit_log_stand_on_one_line(open_page: OpenPage, alice: Tenant) -> None:
    page = open_page(reverse("audit"))

    controls = page.locator(".audit-filter :is(input:not([type=hidden]), select, button)")

    assert controls.count() == 5
    assert len(controls.evaluate_all(BOTTOMS)) == 1
