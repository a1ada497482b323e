"""The frame of the pages: the palette, the pace of the updates, and what a browser remembers."""

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, Request, expect

from jobs import services
from jobs.models import Tenant
from tests.factories import make_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenPage = Callable[..., Page]
GET_LIVE = "import('/static/dashboard/live.js').then(({ live }) => { window.live = live; })"


def shows(page: Page, state: str) -> None:
    expect(page.locator("#live")).to_have_attribute("data-state", state)


def test_the_palette_leads_to_pages_and_to_a_job(open_page: OpenPage, alice: Tenant) -> None:
    job = make_job(alice)
    page = open_page("/")

    page.keyboard.press("Control+k")
    page.locator("#palette input").fill("audit")
    expect(page.locator("#palette [aria-selected=true]")).to_contain_text("Audit log")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/audit/"))

    page.keyboard.press("Control+k")
    page.locator("#palette input").fill(str(job.pk))
    expect(page.locator("#palette li").first).to_contain_text("PENDING")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(str(job.pk)))


def test_a_slower_pace_fetches_less_and_is_kept(open_page: OpenPage, alice: Tenant) -> None:
    page = open_page("/")
    shows(page, "live")
    page.locator("#pace").select_option("60")
    page.goto(reverse("jobs"))
    expect(page.locator("#pace")).to_have_value("60")
    shows(page, "live")

    fetched: list[str] = []

    def note(request: Request) -> None:
        if "partial=" in request.url:
            fetched.append(request.url)

    page.on("request", note)
    for number in range(2):
        make_job(alice, queue=f"queue-{number}")
        page.wait_for_timeout(1_500)
    assert len(fetched) <= 1

    page.locator("#pace").select_option("1")
    expect(page.locator("tr[data-href]")).to_have_count(2)


def test_a_paused_page_has_no_socket_and_says_so(open_page: OpenPage, alice: Tenant) -> None:
    page = open_page("/")
    shows(page, "live")
    page.evaluate(GET_LIVE)

    page.locator("#pace").select_option("0")
    shows(page, "paused")
    page.wait_for_function("() => window.live && window.live.socket === null")

    page.locator("#live").click()
    shows(page, "live")


def test_a_hidden_page_gives_its_socket_up_and_takes_it_again(
    open_page: OpenPage, alice: Tenant
) -> None:
    page = open_page("/")
    shows(page, "live")
    page.evaluate(GET_LIVE)

    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { get: () => window.isAway });
          window.isAway = true;
          document.dispatchEvent(new Event("visibilitychange"));
          window.live.hiddenAt = 0; // long ago
        }"""
    )
    page.wait_for_function("() => window.live && window.live.socket === null")
    make_job(alice)

    page.evaluate("window.isAway = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".tile.status-pending b")).to_have_text("1")
    shows(page, "live")


def test_a_key_is_made_copied_and_revoked(open_page: OpenPage, alice: Tenant) -> None:
    page = open_page("/keys/")
    page.get_by_role("link", name="New key").click()
    page.get_by_label("Name").fill("ci")
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator("#new-key")).to_have_text(re.compile(r"^jq_\w{8}_\w{49}$"))
    expect(page.get_by_role("button", name="Copy").first).to_be_visible()

    page.get_by_role("link", name="I have copied it").click()
    page.get_by_role("link", name="Revoke").click()
    page.get_by_role("button", name="Yes, revoke").click()

    expect(page.locator("#messages")).to_contain_text("is revoked")


def test_the_first_steps_can_be_hidden_for_good(open_page: OpenPage, alice: Tenant) -> None:
    page = open_page("/")
    page.get_by_role("button", name="Hide this").click()
    expect(page.locator("#first-steps")).to_be_hidden()

    page.reload()
    shows(page, "live")

    expect(page.locator("#first-steps")).to_be_hidden()


def test_a_pause_elsewhere_is_seen_in_the_audit_log(open_page: OpenPage, alice: Tenant) -> None:
    make_job(alice)
    page = open_page("/audit/")
    shows(page, "live")

    services.set_queue_paused(alice, "default", paused=True, actor="user:max")

    expect(page.locator(".entries li").first).to_contain_text("user:max pause default")


def test_the_theme_goes_over_into_the_admin_and_back(open_page: OpenPage, alice: Tenant) -> None:
    User.objects.filter(username="ann").update(is_staff=True)
    page = open_page("/admin/")  # which keeps "auto" where nothing was chosen
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "auto")

    page.goto("/settings/")
    expect(page.get_by_label("Theme", exact=True)).to_have_value("auto")
    page.locator("#theme").click()
    expect(page.get_by_label("Theme", exact=True)).to_have_value("light")
    expect(root).to_have_attribute("data-theme", "light")

    page.goto("/admin/")
    expect(root).to_have_attribute("data-theme", "light")
