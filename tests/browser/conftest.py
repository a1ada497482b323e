"""A real Chromium and a real server on the test database."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from jobs.models import Role, Tenant
from tests.chromium import MISSING, chromium

# Two suites may run side by side on two cores, each with servers and browsers of its own.
expect.set_options(timeout=20_000)

OPTIONS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
PASSWORD = "a secret"

REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} forbids ${event.blockedURI}`));
"""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it at the end, where everybody looks."""
    if chromium() is None:
        terminalreporter.write_line(MISSING, red=True, bold=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window; the tests are skipped where there is none."""
    program = chromium()
    if program is None:
        pytest.skip(MISSING)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright runs an event loop in this thread, beneath which Django would refuse to query.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        launched = playwright.chromium.launch(executable_path=program, args=[*OPTIONS, *sandbox])
        yield launched
        launched.close()


@pytest.fixture
def open_page(
    browser: Browser, server: str, transactional_db: None, alice: Tenant
) -> Iterator[Callable[..., Page]]:
    """Opens pages as Ann, a member of Alice's tenant; fails if a page complained of anything."""
    rights = {"role": Role.ADMIN, "sees_payloads": True}
    _make_user("ann").tenants.add(alice, through_defaults=rights)
    with watched(browser, server) as context:

        def make(path: str = "/", prepare: Callable[[Page], None] | None = None) -> Page:
            page = context.new_page()
            if prepare:
                prepare(page)
            page.goto(path)
            if "/login" in page.url:
                log_in(page)
            return page

        yield make


@contextmanager
def watched(browser: Browser, server: str) -> Iterator[BrowserContext]:
    """Where pages are opened; fails at the end if one of them complained of anything."""
    context = browser.new_context(base_url=server, locale="en-US")
    context.add_init_script(REPORT_VIOLATIONS)
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and "WebSocket" not in message.text:
            complaints.append(f"{message.text} {message.location['url']}")

    context.on("console", listen)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()
    assert complaints == []


def _make_user(name: str) -> User:
    """A user whose password the server can check, which hashes as in production."""
    encoded = PBKDF2PasswordHasher().encode(PASSWORD, "a salt", iterations=1_000)
    return User.objects.create(username=name, password=encoded)


def log_in(page: Page, password: str = PASSWORD) -> None:
    """Fill in the login form as Ann, and wait for the page it leads to."""
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill(password)
    with page.expect_navigation():
        page.get_by_role("button", name="Log in").click()


def log_out(page: Page) -> None:
    """Leave, by the menu."""
    page.locator(".menu summary").click()
    page.get_by_role("button", name="Log out").click()
