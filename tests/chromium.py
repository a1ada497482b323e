"""Where the browser is that the tests drive and that takes the pictures."""

import os
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "NO CHROMIUM: the browser tests are skipped. Install one, or set CHROMIUM=/its/program."


def chromium() -> str | None:
    """Chromium's program: `$CHROMIUM`, one in the PATH, or one that playwright has installed."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
        found = own if Path(own).exists() else None
    return found
