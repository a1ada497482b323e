"""What people see happens while it happens, over the socket and without it."""

import re
from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import Page, WebSocketRoute, expect

from jobs import store
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.browser.conftest import log_in, log_out
from tests.factories import make_job

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenPage = Callable[..., Page]
LIVE = re.compile("/ws/live")


def claim(job: Job) -> store.ClaimedJob:
    """A worker takes the job."""
    (claimed,) = store.claim("w", [store.Share(job.lane_id, 1)], lease_seconds=30)
    return claimed


def finish(claimed: store.ClaimedJob, result: bytes) -> None:
    """The worker is done with it."""
    job = Job.objects.get(pk=claimed.id)
    outcome = store.Outcome(
        job_id=job.pk,
        fence=claimed.fence,
        lane_id=job.lane_id,
        tenant_id=job.tenant_id,
        status=Status.DONE,
        result=result,
    )
    assert store.finish("w", [outcome]) == {job.pk}


def mark(page: Page) -> None:
    """Leave a mark that a reload would wipe out."""
    page.evaluate("window.marked = true")


def is_marked(page: Page) -> bool:
    return bool(page.evaluate("window.marked === true"))


def shows_live(page: Page, state: str) -> None:
    expect(page.locator("#live")).to_have_attribute("data-state", state, timeout=15_000)


def test_somebody_logs_in_and_out(open_page: OpenPage) -> None:
    page = open_page("/jobs/")
    expect(page).to_have_url(re.compile(r"/jobs/$"))

    log_out(page)

    expect(page).to_have_url(re.compile("/login"))


def test_a_wrong_password_is_told(open_page: OpenPage, server: str) -> None:
    page = open_page("/")
    log_out(page)

    log_in(page, "wrong")

    expect(page.get_by_role("alert")).to_contain_text("do not match")


def test_a_job_is_seen_through_its_statuses_without_a_reload(
    open_page: OpenPage, alice: Tenant
) -> None:
    job = make_job(alice)
    page = open_page(reverse("job", args=[job.pk]))
    badge = page.locator("h1 .badge")
    expect(badge).to_have_text("PENDING")
    shows_live(page, "live")
    mark(page)

    claimed = claim(job)
    expect(badge).to_have_text("RUNNING")
    finish(claimed, b'{"answer": 42}')
    expect(badge).to_have_text("DONE")

    expect(page.locator(".json-box").last).to_contain_text("answer: 42")
    assert is_marked(page)


def test_the_list_and_the_tiles_follow(open_page: OpenPage, alice: Tenant) -> None:
    first = make_job(alice)
    jobs, overview = open_page("/jobs/"), open_page("/")
    for page in (jobs, overview):
        shows_live(page, "live")
        mark(page)

    second = make_job(alice, queue="mail")
    claim(first)

    expect(jobs.locator(f"#job-{first.pk} .badge")).to_have_text("RUNNING")
    expect(jobs.locator(f"#job-{second.pk} .badge")).to_have_text("PENDING")
    expect(overview.locator(".tile.status-running b")).to_have_text("1")
    expect(overview.locator(".tile.status-pending b")).to_have_text("1")
    assert is_marked(jobs)
    assert is_marked(overview)


def test_without_a_socket_the_page_says_polling_and_follows_all_the_same(
    open_page: OpenPage, alice: Tenant
) -> None:
    job = make_job(alice)
    page = open_page(reverse("job", args=[job.pk]), prepare=without_sockets)
    shows_live(page, "polling")
    mark(page)

    claim(job)

    expect(page.locator("h1 .badge")).to_have_text("RUNNING", timeout=12_000)
    assert is_marked(page)


def without_sockets(page: Page) -> None:
    """Close every socket at once, as a proxy that knows none would."""

    def refuse(socket: WebSocketRoute) -> None:
        socket.close(code=1011)

    page.route_web_socket(LIVE, refuse)


def test_a_socket_that_is_cut_is_opened_again(open_page: OpenPage, alice: Tenant) -> None:
    def pass_on(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    sockets: list[WebSocketRoute] = []
    job = make_job(alice)
    page = open_page(
        reverse("job", args=[job.pk]), lambda page: page.route_web_socket(LIVE, pass_on)
    )
    shows_live(page, "live")
    mark(page)

    sockets[-1].close(code=1012)
    shows_live(page, "polling")
    claimed = claim(job)
    shows_live(page, "live")
    finish(claimed, b"1")

    expect(page.locator("h1 .badge")).to_have_text("DONE")
    assert is_marked(page)


BREAK = """() => {
  window.ask = fetch;
  fetch = async () => new Response("", { status: 503 });
}"""


def test_what_the_server_failed_to_answer_is_asked_for_again(
    open_page: OpenPage, alice: Tenant
) -> None:
    job = make_job(alice)
    page = open_page(reverse("job", args=[job.pk]))
    shows_live(page, "live")
    page.wait_for_load_state("networkidle")
    page.evaluate(BREAK)

    claim(job)
    shows_live(page, "offline")
    page.evaluate("() => { fetch = window.ask; }")

    expect(page.locator("h1 .badge")).to_have_text("RUNNING")
    shows_live(page, "live")


def test_a_paused_page_stands_still_until_it_is_resumed(open_page: OpenPage, alice: Tenant) -> None:
    job = make_job(alice)
    page = open_page(reverse("job", args=[job.pk]))
    shows_live(page, "live")

    page.locator("#live").click()
    shows_live(page, "paused")
    claim(job)
    page.wait_for_timeout(2_500)
    expect(page.locator("h1 .badge")).to_have_text("PENDING")

    page.locator("#live").click()
    expect(page.locator("h1 .badge")).to_have_text("RUNNING")


def test_a_page_that_hears_nothing_says_how_old_it_is(open_page: OpenPage) -> None:
    def prepare(page: Page) -> None:
        page.clock.install()
        page.route_web_socket(LIVE, answer_once)

    def answer_once(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.send('{"seq": 1, "changed": []}')

    sockets: list[WebSocketRoute] = []
    page = open_page("/", prepare)
    shows_live(page, "live")

    page.clock.fast_forward(12_000)
    shows_live(page, "stale")
    expect(page.locator("#live")).to_have_text(re.compile(r"^stale for [1-3]\d s$"))

    sockets[-1].send('{"seq": 2, "changed": []}')
    shows_live(page, "live")
    expect(page.locator("#live")).to_have_text("live")


def test_an_update_leaves_what_the_reader_opened_alone(open_page: OpenPage, alice: Tenant) -> None:
    job = make_job(alice, payload=b'{"deep": {"deeper": {"deepest": [1, 2]}}}')
    page = open_page(reverse("job", args=[job.pk]))
    shows_live(page, "live")
    folded = page.locator("details.json:not([open]) > summary").first
    folded.click()
    opened = page.locator("details.json[open]").count()

    claim(job)

    expect(page.locator("h1 .badge")).to_have_text("RUNNING")
    assert page.locator("details.json[open]").count() == opened
