"""What the demo's tenants ask for: quick and slow jobs, failing ones, and work on real files.

None of them is exposed over REST: they are called from Python, by import path.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from pathlib import Path

from django.conf import settings

from jobs.backoff import Backoff
from jobs.errors import Discard
from jobs.tasksapi import TaskContext, task

READABLE = {".py", ".md", ".html", ".css", ".js", ".txt", ".toml"}
SOON = Backoff(base_seconds=4, max_seconds=20)
SHELVES = 8
log = logging.getLogger(__name__)


class PaymentDeclined(Exception):
    """The bank said no, this time."""


class FeedUnreachable(Exception):
    """The supplier's feed does not answer."""


@task
def checksum(path: str) -> dict[str, object]:
    """The SHA-256 and the size of a file of the project."""
    content = project_file(path).read_bytes()
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


@task
def count_words(path: str) -> dict[str, object]:
    """How many words a file of the project has, and which five are most frequent."""
    words = Counter(project_file(path).read_text().lower().split())
    return {"path": path, "words": words.total(), "most_frequent": words.most_common(5)}


@task
async def send_receipt(order: int) -> str:
    """A quick job: it waits a moment, as for a mail server."""
    await asyncio.sleep(0.05)
    return f"receipt of order {order} sent"


@task
async def sync_inventory(warehouse: str, seconds: float) -> str:
    """A slow job that says how far it is."""
    for shelf in range(1, SHELVES + 1):
        await asyncio.sleep(seconds / SHELVES)
        log.info("%s: shelf %d of %d", warehouse, shelf, SHELVES)
    return f"{warehouse} synced in {seconds:g} s"


@task(takes_context=True, backoff=SOON)
async def charge_card(context: TaskContext, order: int, declines: int) -> str:
    """Is declined so many times, then succeeds."""
    await asyncio.sleep(0.1)
    if context.attempt <= declines:
        log.warning("the bank declines order %d", order)
        raise PaymentDeclined(f"order {order}: declined, attempt {context.attempt}")
    return f"order {order} charged at attempt {context.attempt}"


@task(max_retries=1, backoff=SOON)
async def import_feed(supplier: str) -> None:
    """Never succeeds: a dead letter after its second attempt."""
    await asyncio.sleep(0.2)
    raise FeedUnreachable(f"{supplier}: no answer")


@task
def validate_upload(name: str) -> None:
    """Cannot succeed and says so: a dead letter at once."""
    raise Discard(f"{name} is not a file we can read")


def project_file(path: str) -> Path:
    """The file of the project with this relative path. Raises `Discard` for any other path."""
    file = (settings.BASE_DIR / path).resolve()
    if not file.is_relative_to(settings.BASE_DIR) or file.suffix not in READABLE:
        raise Discard(f"{path} is not a text of the project")
    return file
