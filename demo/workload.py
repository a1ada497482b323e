"""A small, lifelike stream of jobs from three tenants. It pauses when much is waiting."""

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from demo import tasks
from jobs.errors import TenantInactive, TooManyRequests
from jobs.models import Job, Tenant
from jobs.store import count_waiting
from jobs.tasks import sum_to
from jobs.tenants import create_tenant

JOBS_A_TICK = 3
MANY_WAITING = 100
MOST_JOBS = 250_000
"""About a day's worth; then the workload rests, so that a forgotten demo does not fill the disk."""
NO_LIMITS = {"max_running": None, "submissions_per_minute": None}
TENANTS = {
    "demo": {"weight": 1, **NO_LIMITS},
    "acme": {"weight": 3, **NO_LIMITS},
    "globex": {"weight": 2, "max_running": 4, "submissions_per_minute": None},
}
Submit = Callable[["Workload", str], object]


class Workload:
    """Submits a few jobs at each `tick`, most of them for the tenants of greater weight."""

    def __init__(self, seed: int | None = None) -> None:
        self.random = random.Random(seed)  # noqa: S311  (a lottery of jobs, not of secrets)
        self.order = self.random.randrange(10_000, 90_000)
        self.files = project_texts()
        self.room = MOST_JOBS - Job.objects.count()
        self.tenants = {slug: ensure_tenant(slug) for slug in TENANTS}

    def tick(self) -> int:
        """Submit the jobs of one second; answers how many (none for a tenant with many waiting)."""
        slugs = self.random.choices(
            list(TENANTS),
            weights=[tenant.weight for tenant in self.tenants.values()],
            k=JOBS_A_TICK,
        )
        submitted = sum(self._submit(slug) for slug in slugs if self._may_go_on(slug))
        self.room -= submitted
        return submitted

    def next_order(self) -> int:
        """A number for the next order."""
        self.order += 1
        return self.order

    def _submit(self, slug: str) -> bool:
        """Submit one job; False if a limit that somebody set for the tenant refuses it."""
        (submit,) = self.random.choices(list(KINDS), weights=list(KINDS.values()))
        try:
            submit(self, slug)
        except (TooManyRequests, TenantInactive):
            return False
        return True

    def _may_go_on(self, slug: str) -> bool:
        waiting = count_waiting(self.tenants[slug].pk, at_most=MANY_WAITING)
        return self.room > 0 and waiting < MANY_WAITING


def ensure_tenant(slug: str) -> Tenant:
    """The tenant of the demo with this slug, made if need be; limits that were edited stay."""
    existing = Tenant.objects.filter(slug=slug).first()
    return existing or create_tenant(slug, actor="command:demo", **TENANTS[slug])


def project_texts() -> list[str]:
    """Relative paths of the project's texts, hidden folders and data left out."""
    root = Path(settings.BASE_DIR)
    folders = [path for path in root.iterdir() if path.is_dir() and not _is_hidden(path)]
    found = [*root.glob("*.*"), *(path for folder in folders for path in folder.rglob("*.*"))]
    return sorted(str(path.relative_to(root)) for path in found if path.suffix in tasks.READABLE)


def _is_hidden(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in {"var", "staticfiles", "node_modules"}


def _receipt(load: Workload, tenant: str) -> None:
    task = tasks.send_receipt.using(tenant=tenant, queue_name="mail", tags=("shop",))
    task.enqueue(order=load.next_order())


def _checksum(load: Workload, tenant: str) -> None:
    tasks.checksum.using(tenant=tenant, queue_name="files").enqueue(
        path=load.random.choice(load.files)
    )


def _words(load: Workload, tenant: str) -> None:
    task = tasks.count_words.using(tenant=tenant, queue_name="files", priority=-50)
    task.enqueue(path=load.random.choice(load.files))


def _charge(load: Workload, tenant: str) -> None:
    declines = load.random.choices([0, 1, 2], weights=[6, 3, 1])[0]
    task = tasks.charge_card.using(
        tenant=tenant, queue_name="payments", priority=50, tags=("shop", "money")
    )
    task.enqueue(order=load.next_order(), declines=declines)


def _sync(load: Workload, tenant: str) -> None:
    task = tasks.sync_inventory.using(tenant=tenant, queue_name="sync")
    warehouse = load.random.choice(["Berlin", "Lyon", "Osaka", "Quito"])
    task.enqueue(warehouse=warehouse, seconds=round(load.random.uniform(2, 12), 1))


def _later(load: Workload, tenant: str) -> None:
    at = timezone.now() + timedelta(seconds=load.random.randrange(10, 90))
    task = tasks.send_receipt.using(
        tenant=tenant, queue_name="mail", run_after=at, tags=("reminder",)
    )
    task.enqueue(order=load.next_order())


def _feed(load: Workload, tenant: str) -> None:
    task = tasks.import_feed.using(tenant=tenant, queue_name="sync", tags=("supplier",))
    task.enqueue(supplier=load.random.choice(["Initech", "Umbrella", "Hooli"]))


def _report(load: Workload, tenant: str) -> None:
    """A task that tenants may call over REST as well."""
    sum_to.using(tenant=tenant, queue_name="reports").enqueue(n=load.next_order())


def _upload(load: Workload, tenant: str) -> None:
    task = tasks.validate_upload.using(tenant=tenant, queue_name="files")
    task.enqueue(name=f"scan-{load.next_order()}.bmp")


KINDS: dict[Submit, int] = {
    _receipt: 30,
    _checksum: 20,
    _words: 15,
    _charge: 15,
    _sync: 10,
    _later: 7,
    _report: 4,
    _feed: 2,
    _upload: 1,
}
"""What is submitted, and how often relative to the others."""
