"""`make screenshots`: the pictures of the README, of a made-up installation that stays the same.

It fills a database of its own, serves it, and lets Chromium take `docs/screenshots/*.png`.
"""

import math
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs/screenshots"
MAX_BYTES = 200_000
WIDTH = 1_400
PAGES = {"overview": 860, "jobs": 600, "job": 860, "dead": 600}
"""What is shown, and how many pixels of it from the top."""
SEED = 7
PASSWORD = "for the pictures"
SECONDS = 60
"""For a server or a page to be ready."""

# The settings read where the data is, so it is said before Django is imported.
VAR_DIR = Path(tempfile.mkdtemp(prefix="jobqueue-screenshots-"))
os.environ |= {"VAR_DIR": str(VAR_DIR), "DJANGO_SETTINGS_MODULE": "jobqueue_project.settings"}
os.environ.pop("DATABASE_URL", None)

import django  # noqa: E402

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db.models import Max, Sum  # noqa: E402
from django.utils import timezone  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from jobs import services, store  # noqa: E402
from jobs.keys import create_api_key  # noqa: E402
from jobs.models import Job, LaneMinute, Tenant, WaitMinute, Worker  # noqa: E402
from jobs.statuses import AttemptOutcome, Reason, Status  # noqa: E402
from jobs.store.minutes import EVERYBODY  # noqa: E402
from jobs.store.waits import bucket_of  # noqa: E402
from jobs.submission import NewJob  # noqa: E402
from jobs.tenants import create_tenant  # noqa: E402
from tests.chromium import chromium  # noqa: E402

LANES = {
    "acme": {"mail": 42, "reports": 9, "webhooks": 25},
    "globex": {"billing": 12, "imports": 6},
    "initech": {"sync": 18},
}
"""The tenants, their queues, and how many jobs end in each per minute."""
ERRORS = {
    "import_feed": ("FeedUnreachable", "Hooli: no answer within 30 s"),
    "charge_card": ("PaymentDeclined", "order 48213: declined by the bank"),
    "render_report": ("MemoryError", "report 77 needs 9000 MB"),
}


def main() -> int:
    """Take the pictures; answers 1 if one is too large, or if there is no browser."""
    if (program := chromium()) is None:
        sys.stdout.write("NO CHROMIUM: install one, or set CHROMIUM=/its/program.\n")
        return 1
    try:
        call_command("migrate", interactive=False, verbosity=0)
        fill(random.Random(SEED))
        dead = Job.objects.filter(status=Status.DLQ, tenant__slug="acme").latest("pk")
        with serving() as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=_flags())
            for theme in ("light", "dark"):
                take(browser, address, theme, f"/jobs/{dead.pk}/")
            browser.close()
    finally:
        shutil.rmtree(VAR_DIR, ignore_errors=True)
    large = [one.name for one in PICTURES.glob("*.png") if one.stat().st_size > MAX_BYTES]
    sys.stdout.write(f"TOO LARGE: {large}\n" if large else f"Pictures are in {PICTURES}\n")
    return 1 if large else 0


def fill(dice: random.Random) -> None:
    """Three tenants with a day behind them, work under way, and some that went wrong."""
    User.objects.create_superuser("olga", password=PASSWORD)
    now = timezone.now()
    for number in range(3):
        _worker(number, now)
    tenants = {slug: _tenant(slug) for slug in LANES}
    for tenant in tenants.values():
        create_api_key(tenant, name="backend", actor="user:olga")
    _jobs(dice, tenants)
    for slug, queues in LANES.items():
        for queue, per_minute in queues.items():
            _history(dice, tenants[slug], queue, per_minute, now)
        services.change_limits(tenants[slug], actor="user:olga", **_LIMITS[slug])
    _waits(dice)
    services.set_queue_paused(tenants["globex"], "imports", paused=True, actor="user:olga")


_LIMITS: dict[str, dict[str, Any]] = {
    "acme": {"weight": 3, "max_running": 12},
    "globex": {"weight": 2, "max_running": 4},
    "initech": {"weight": 1, "max_running": 8},
}


def _tenant(slug: str) -> Tenant:
    return create_tenant(slug, actor="command:demo", max_running=None, submissions_per_minute=None)


def _worker(number: int, now: datetime) -> None:
    Worker.objects.create(
        id=f"worker-{number}",
        host=f"node-{number + 1}",
        pid=4_100 + number,
        slots=20,
        running=(7, 5, 3)[number],
        memory_bytes=(61 + 3 * number) * 1_000_000,
        started_at=now - timedelta(hours=30 - number),
        seen_at=now + timedelta(minutes=30),  # alive in all pictures
    )


TASKS = {
    "mail": "send_receipt",
    "reports": "render_report",
    "webhooks": "call_webhook",
    "billing": "charge_card",
    "imports": "import_feed",
    "sync": "sync_inventory",
}


def _jobs(dice: random.Random, tenants: dict[str, Tenant]) -> None:
    """Jobs in all statuses, made by the engine's own hands."""
    lanes = [(tenants[slug], queue) for slug, queues in LANES.items() for queue in queues]
    plan = [(lane, status) for lane in lanes for status in _mixture(dice)]
    for (tenant, queue), status in dice.sample(plan, len(plan)):
        if status is Status.SCHEDULED:
            _submit(dice, tenant, queue, delay_seconds=dice.randrange(600, 9_000))
        elif status is Status.PENDING:
            _submit(dice, tenant, queue)
        else:
            _run(dice, tenant, queue, status)


def _mixture(dice: random.Random) -> list[Status]:
    often = [Status.DONE] * 12 + [Status.RUNNING] * 2 + [Status.PENDING] * dice.randrange(2, 6)
    return [*often, Status.FAILED, Status.SCHEDULED, *[Status.DLQ] * dice.randrange(1, 4)]


def _submit(dice: random.Random, tenant: Tenant, queue: str, **fields: Any) -> uuid.UUID:
    order = dice.randrange(10_000, 90_000)
    payload = f'{{"order": {order}, "customer": "c-{order % 997}", "total": 129.90}}'
    wanted = NewJob(task=TASKS[queue], queue=queue, payload=payload.encode(), **fields)
    return services.submit(tenant, wanted).job_id


def _run(dice: random.Random, tenant: Tenant, queue: str, status: Status) -> None:
    # Before those that are to wait.
    job = Job.objects.get(pk=_submit(dice, tenant, queue, priority=1))
    (claimed,) = store.claim("worker-0", [store.Share(job.lane_id, 1)], lease_seconds=3_600)
    if status is not Status.RUNNING:
        ending = _ENDINGS[status] | (_error(TASKS[queue]) if status is not Status.DONE else {})
        fate = {"lane_id": job.lane_id, "tenant_id": tenant.pk, "status": status}
        store.finish(
            "worker-0", [store.Outcome(job_id=job.pk, fence=claimed.fence, **fate, **ending)]
        )


_ENDINGS: dict[Status, dict[str, Any]] = {
    Status.DONE: {"result": b'{"sent": true, "message_id": "0f3a-77"}', "ran_seconds": 0.2},
    Status.FAILED: {"attempt_outcome": AttemptOutcome.FAILED, "retry_in": 900},
    Status.DLQ: {
        "attempt_outcome": AttemptOutcome.FAILED,
        "reason": Reason.NOT_RETRYABLE,
    },
}


def _error(task: str) -> dict[str, str]:
    kind, message = ERRORS.get(task, ("Timeout", "no answer from 10.0.0.7 within 20 s"))
    frames = f'  File "shop/tasks.py", line 41, in {task}\n    answer = client.post(order)\n'
    traceback = f"Traceback (most recent call last):\n{frames}{kind}: {message}"
    return {"error_type": kind, "error_message": message, "traceback": traceback}


def _history(
    dice: random.Random, tenant: Tenant, queue: str, per_minute: int, now: datetime
) -> None:
    """What ended in each minute of the last six hours, with a rush an hour and a half ago."""
    lane = tenant.lanes.get(queue=queue)
    first = now.replace(second=0, microsecond=0)
    minutes = []
    for back in range(1, 360):
        rush = 1.6 if 25 < back < 40 else 1.0
        done = max(0, round(dice.gauss(per_minute * rush, per_minute / 6)))
        wait = 2.5 if rush > 1 else 0.15
        minute = LaneMinute(
            lane_id=lane.pk,
            tenant_id=tenant.pk,
            minute=first - timedelta(minutes=back),
            done=done,
            failed=dice.randrange(0, 3) if done else 0,
            dead=int(dice.random() < 0.03),
            started=done,
            wait_seconds=done * wait * dice.uniform(0.8, 1.2),
            max_wait_seconds=wait * dice.uniform(2, 6),
            run_seconds=done * 0.4,
        )
        minutes.append(minute)
    LaneMinute.objects.bulk_create(minutes)


def _waits(dice: random.Random) -> None:
    """How long what ended in each minute had waited, most of it less than the average."""
    counted = LaneMinute.objects.filter(wait_seconds__gt=0).values_list("minute")
    figures = counted.annotate(Sum("started"), Sum("wait_seconds"), Max("max_wait_seconds"))
    for minute, started, seconds, longest in figures.order_by("minute"):
        usual = math.log(0.7 * seconds / started)
        waited = [min(longest, dice.lognormvariate(usual, 0.7)) for _ in range(started)]
        WaitMinute.objects.bulk_create(
            WaitMinute(tenant_id=EVERYBODY, minute=minute, bucket=bucket, attempts=attempts)
            for bucket, attempts in Counter(map(bucket_of, waited)).items()
        )


@contextmanager
def serving() -> Iterator[str]:
    """A server on the database; answers its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["-m", "daphne", "-b", "127.0.0.1", "-p", str(port), _APPLICATION]
    log = (VAR_DIR / "web.log").open("w")
    server = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(server, f"{address}/login")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=SECONDS)
        log.close()


_APPLICATION = "jobqueue_project.asgi:application"


def _wait_for(server: "subprocess.Popen[bytes]", address: str) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urlopen(address, timeout=5):
                return
        except URLError:
            time.sleep(0.1)
    raise SystemExit(f"The server did not start:\n{(VAR_DIR / 'web.log').read_text()}")


def take(browser: Browser, address: str, theme: Any, job: str) -> None:
    """The pictures in one theme; `job` is the address of the one that is shown."""
    context = browser.new_context(base_url=address, color_scheme=theme, reduced_motion="reduce")
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("Name").fill("olga")
    page.get_by_label("Password").fill(PASSWORD)
    with page.expect_navigation():
        page.get_by_role("button", name="Log in").click()
    for name, path in {"overview": "/", "jobs": "/jobs/", "job": job, "dead": "/dead/"}.items():
        page.set_viewport_size({"width": WIDTH, "height": PAGES[name]})
        _picture(page, name, path, theme)
    context.close()


def _picture(page: Page, name: str, path: str, theme: str) -> None:
    page.goto(path)
    page.locator('#live[data-state="live"]').wait_for(timeout=SECONDS * 1_000)
    page.screenshot(path=PICTURES / f"{name}-{theme}.png")
    sys.stdout.write(f"{name}-{theme}.png\n")


def _flags() -> list[str]:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    return ["--disable-gpu", "--disable-dev-shm-usage", *sandbox]


if __name__ == "__main__":
    sys.exit(main())
