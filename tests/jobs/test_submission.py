"""What can become a job is checked once, before anything is written."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.test import override_settings

from jobs.errors import InvalidInput, PayloadTooLarge
from jobs.models import Tenant
from jobs.submission import NewJob
from tests.store.steps import row, submit

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "fields",
    [
        {"queue": "a"}, {"queue": "Az09._:-"}, {"queue": "q" * 128}, {"priority": -100},
        {"priority": 100}, {"max_retries": 0}, {"max_retries": 100}, {"timeout_seconds": 0.1},
        {"timeout_seconds": 86_400}, {"delay_seconds": 0}, {"delay_seconds": 366 * 86_400},
        {"run_at": MOMENT}, {"tags": ("t",) * 20}, {"worker_tags": ("t" * 128,) * 5},
        {"idempotency_key": "k" * 255}, {"idempotency_key": " ~"}, {"payload": b"x" * 1_000_000},
    ],
)  # fmt: skip
def test_what_is_in_range_is_accepted(fields: dict[str, Any]) -> None:
    assert NewJob(**{"task": "echo"} | fields)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        *(
            (field, value)
            for field in ("queue", "task")
            for value in ("", "q" * 129, "-a", "a b", "a/b", "\u00e4", "a\n", "a\0")
        ),
        ("priority", -101), ("priority", 101), ("max_retries", -1), ("max_retries", 101),
        ("timeout_seconds", 0), ("timeout_seconds", -1), ("timeout_seconds", 86_401),
        ("timeout_seconds", float("nan")), ("timeout_seconds", float("inf")),
        ("delay_seconds", -0.1), ("delay_seconds", float("nan")), ("delay_seconds", 1e12),
        ("tags", ("t",) * 21), ("tags", ("a b",)), ("tags", ("",)),
        ("worker_tags", ("t",) * 6), ("worker_tags", ("a,b",)), ("worker_tags", ("",)),
        ("idempotency_key", ""), ("idempotency_key", "k" * 256), ("idempotency_key", "\u00e4"),
        ("idempotency_key", "a\n"), ("run_at", datetime(2030, 1, 1)),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused_by_name(pointer: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        NewJob(**{"task": "echo", pointer: value})
    assert caught.value.pointer == pointer


def test_time_and_delay_exclude_each_other() -> None:
    with pytest.raises(InvalidInput, match="not both"):
        NewJob(task="echo", run_at=MOMENT, delay_seconds=0)


def test_payload_above_the_limit_is_too_large() -> None:
    with override_settings(JOBQUEUE={"max_payload_bytes": 3}), pytest.raises(PayloadTooLarge):
        NewJob(task="echo", payload=b"1234")


EAST, WEST = timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))


@pytest.mark.parametrize(
    "moment", [datetime.max.replace(tzinfo=WEST), datetime(9999, 1, 1, tzinfo=UTC)]
)
def test_time_that_no_calendar_can_show_everywhere_is_refused(moment: datetime) -> None:
    with pytest.raises(InvalidInput) as caught:
        NewJob(task="echo", run_at=moment)
    assert caught.value.pointer == "run_at"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "moment",
    [
        datetime.min.replace(tzinfo=EAST),
        datetime.min.replace(tzinfo=UTC),
        datetime(1, 1, 2, tzinfo=WEST),
        datetime(9998, 12, 31, 11, 59, 59, 999999, tzinfo=WEST),
    ],
)
def test_time_at_the_ends_of_the_calendar_can_be_stored_and_read(
    alice: Tenant, moment: datetime
) -> None:
    (job_id,) = submit(alice, run_at=moment)
    assert row(job_id)["run_at"] >= moment
