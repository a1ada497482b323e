"""How evenly tenants are served while all of them have work waiting."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from bench import load
from bench.drains import ONE_PROCESS
from bench.figures import jain
from bench.scenario import BenchError, Figure, Sample, Settings
from jobs.models import Tenant
from jobs.submission import NewJob

BACKLOG, FEW, FEW_TENANTS = 100_000, 200, 9
WEIGHTS, WEIGHTED_JOBS = {"one": 1, "another": 1, "triple": 3}, 2_500
WINDOW_SECONDS = 5.0
WORKERS = (*ONE_PROCESS, "--concurrency", "10")
BRIEF = NewJob(task="bench.tasks.sleep", payload=b'{"seconds": 0.05}')
BRIEFER = NewJob(task="bench.tasks.sleep", payload=b'{"seconds": 0.02}')

Starts = Mapping[str, Sequence[float]]
"""When the jobs of each tenant started, in seconds."""


def one_with_a_backlog(settings: Settings) -> Iterator[Sample]:
    """One tenant with 100,000 ready jobs, nine with 200 each."""
    few = settings.jobs(FEW)
    wanted = {"big": settings.jobs(BACKLOG)} | {f"small{n}": few for n in range(FEW_TENANTS)}
    for _ in settings.each_run():
        starts = _started(wanted, {}, BRIEF, enough=[slug for slug in wanted if slug != "big"])
        yield _sample(starts, {}, settings)


def weights(settings: Settings) -> Iterator[Sample]:
    """Three tenants with the weights 1, 1 and 3, as many jobs each."""
    wanted = dict.fromkeys(WEIGHTS, settings.jobs(WEIGHTED_JOBS))
    for _ in settings.each_run():
        starts = _started(wanted, WEIGHTS, BRIEFER, enough=["triple"])
        yield _sample(starts, WEIGHTS, settings)


def _started(
    wanted: Mapping[str, int], weights: Mapping[str, int], job: NewJob, enough: Sequence[str]
) -> Starts:
    """Run jobs until those of the tenants in `enough` are done; answers when each job started."""
    load.wipe()

    def submit() -> None:
        for slug, jobs in wanted.items():
            tenant = load.make_tenant(slug, weight=weights.get(slug, 1))
            load.submit_bulk(tenant, jobs, job)

    tenants = load.submitted_by(submit)
    awaited = tuple(Tenant.objects.filter(slug__in=enough).values_list("pk", flat=True))
    with load.released(*WORKERS):
        load.wait_for(sum(wanted[slug] for slug in enough), awaited)
    starts: dict[str, list[float]] = {slug: [] for slug in wanted}
    for slug, at in load.jobs_of(tenants).values_list("tenant__slug", "started_at"):
        if at is not None:
            starts[slug].append(at.timestamp())
    return starts


def _sample(starts: Starts, weights: Mapping[str, int], settings: Settings) -> Sample:
    indices = [
        jain([count / weights.get(slug, 1) for slug, count in served.items()])
        for served in windows(starts, WINDOW_SECONDS * min(1, settings.scale))
    ]
    return {"worst window": Figure(min(indices)), "median window": Figure(median(indices))}


def windows(starts: Starts, seconds: float) -> list[dict[str, int]]:
    """How many jobs of each tenant started in each whole window in which all had jobs waiting.

    Contention begins with the first start of all and ends when the first tenant starts its last.
    Raises `BenchError` if that was shorter than a window.
    """
    begin = min(at for of_tenant in starts.values() for at in of_tenant)
    end = min(max(of_tenant, default=begin) for of_tenant in starts.values())
    counted = [
        Counter(
            slug
            for slug, of_tenant in starts.items()
            for at in of_tenant
            if begin + number * seconds <= at < begin + (number + 1) * seconds
        )
        for number in range(int((end - begin) / seconds))
    ]
    if not counted:
        raise BenchError(f"All tenants had work for {end - begin:.1f} seconds only.")
    return [{slug: counts[slug] for slug in starts} for counts in counted]
