"""The installation's figures in Prometheus' text format, read from the database at each scrape.

So every web process tells the same, and nothing is lost when one of them restarts.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs import figures
from jobs.statuses import Status
from jobs.worker_states import present_workers

LANE = ["tenant", "queue"]
OfLane = figures.LaneFigures[figures.LaneName]


def exposition() -> bytes:
    """The text of one scrape."""
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    return generate_latest(registry)


class DatabaseCollector(Collector):
    """Reads the figures when asked."""

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric family."""
        lanes = figures.lanes()
        yield _jobs(lanes)
        yield _oldest(lanes)
        yield from _totals(lanes)
        yield from _workers()


def _labels(lane: OfLane, *more: str) -> list[str]:
    return [lane.lane.slug, lane.lane.queue, *more]


def _jobs(lanes: list[OfLane]) -> Metric:
    family = GaugeMetricFamily("jobqueue_jobs", "Jobs by status.", labels=[*LANE, "status"])
    for lane in lanes:
        for status in (*figures.LIVE, Status.DLQ):
            family.add_metric(_labels(lane, status), lane.depth[status])
    return family


def _oldest(lanes: list[OfLane]) -> Metric:
    family = GaugeMetricFamily(
        "jobqueue_oldest_waiting_seconds", "How long the oldest ready job waits.", labels=LANE
    )
    for lane in lanes:
        family.add_metric(_labels(lane), lane.oldest_waiting_seconds or 0.0)
    return family


def _totals(lanes: list[OfLane]) -> Iterator[Metric]:
    finished = CounterMetricFamily(
        "jobqueue_finished", "Ended attempts by outcome.", labels=[*LANE, "outcome"]
    )
    purged = CounterMetricFamily("jobqueue_purged", "Jobs deleted after their end.", labels=LANE)
    totals = figures.totals_by_lane()
    for lane in lanes:
        of_lane = totals.get(lane.lane.pk, {})
        purged.add_metric(_labels(lane), of_lane.pop("purged", 0))
        for outcome, count in of_lane.items():
            finished.add_metric(_labels(lane, outcome), count)
    yield finished
    yield purged


def _workers() -> Iterator[Metric]:
    workers = list(present_workers())
    for name, text, value in (
        ("workers", "Live worker processes.", len(workers)),
        ("worker_slots", "Slots of the live workers.", sum(w.slots for w in workers)),
        ("worker_running", "Jobs that live workers run.", sum(w.running for w in workers)),
    ):
        yield GaugeMetricFamily(f"jobqueue_{name}", text, value=value)
