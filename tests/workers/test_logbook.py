"""What is caught of what jobs log, and when the finisher writes it."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DataError, OperationalError
from django.test import override_settings

from jobs import store
from jobs.models import LogLine, Tenant
from jobs.registry import find
from jobs.statuses import Status
from jobs.store import ClaimedJob, Lease, Logged
from tests.store.steps import WORKER, claim_one, outcome
from workers import finisher, logbook
from workers.finisher import Finisher
from workers.held import HeldJob, HeldJobs
from workers.ledger import Ledger
from workers.logbook import LogBook

pytestmark = pytest.mark.django_db

log = logging.getLogger("shop.mail")


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Iterator[LogBook]:
    """A log book of the test's own, open."""
    root = logging.getLogger()
    level, filters = root.level, {handler: handler.filters[:] for handler in root.handlers}
    opened = LogBook()
    monkeypatch.setattr(finisher, "book", opened)
    opened.open()
    yield opened
    root.removeHandler(opened)
    root.setLevel(level)
    for handler, before in filters.items():
        handler.filters = before


@pytest.fixture
def job(alice: Tenant) -> ClaimedJob:
    return claim_one(alice)


def lease_of(job: ClaimedJob) -> Lease:
    return Lease(job.id, job.fence)


def run(job: ClaimedJob, *calls: Any) -> None:
    """Make the calls as the job's own code would."""
    under = logbook.running.set(job)
    try:
        for call in calls:
            call()
    finally:
        logbook.running.reset(under)


def said(lines: list[Logged]) -> list[str]:
    return [line.message for line in lines]


def test_a_line_of_a_job_is_caught_with_all_that_it_says(book: LogBook, job: ClaimedJob) -> None:
    run(job, lambda: log.info("order %d", 17), lambda: log.error("no answer"))
    first, second = book.unwritten()
    assert (first.job_id, first.fence, first.attempt) == (job.id, job.fence, job.attempt)
    assert (first.number, first.level, first.logger, first.message) == (
        1,
        20,
        "shop.mail",
        "order 17",
    )
    assert (second.number, second.level, second.message) == (2, 40, "no answer")


def test_lines_outside_a_job_are_not_caught(book: LogBook, job: ClaimedJob) -> None:
    log.error("before")
    run(job)
    log.error("after")
    thread = threading.Thread(target=log.error, args=["of a thread without the job's context"])
    run(job, thread.start, thread.join)
    assert book.unwritten() == []


def test_threads_and_tasks_that_carry_the_context_on_are_the_jobs(
    book: LogBook, job: ClaimedJob
) -> None:
    async def wait() -> None:
        async def say() -> None:
            log.warning("in a task")

        await asyncio.gather(say(), asyncio.to_thread(log.warning, "in a thread"))

    run(job, lambda: contextvars.copy_context().run(log.warning, "in a copy"))
    run(job, lambda: asyncio.run(wait()))
    assert sorted(said(book.unwritten())) == ["in a copy", "in a task", "in a thread"]


def test_a_traceback_belongs_to_its_line(book: LogBook, job: ClaimedJob) -> None:
    def fail() -> None:
        try:
            int("no number")
        except ValueError:
            log.exception("it failed")

    run(job, fail)
    (line,) = said(book.unwritten())
    assert line.startswith("it failed\nTraceback")
    assert line.endswith("ValueError: invalid literal for int() with base 10: 'no number'")


def test_a_line_that_cannot_be_formatted_is_told(book: LogBook, job: ClaimedJob) -> None:
    run(job, lambda: log.info("%d", "one"), lambda: log.info("the next"))
    assert said(book.unwritten()) == [
        "(a line that could not be written out: TypeError)",
        "the next",
    ]


@override_settings(JOBQUEUE={"max_log_lines": 3})
def test_lines_beyond_the_limit_are_dropped_and_counted(book: LogBook, job: ClaimedJob) -> None:
    run(job, *[lambda: log.info("again")] * 5)
    assert said(book.unwritten()) == ["again"] * 3
    book.close_notes([lease_of(job)])
    last = book.unwritten()[-1]
    assert last.number == 4
    assert last.message == "2 more lines were dropped: 3 are kept of an attempt."


@pytest.mark.parametrize(
    ("level", "caught"),
    [
        ("DEBUG", ["debug", "info", "warning"]),
        ("INFO", ["info", "warning"]),
        ("WARNING", ["warning"]),
        ("OFF", []),
    ],
)
def test_the_level_is_the_settings(job: ClaimedJob, level: str, caught: list[str]) -> None:
    root = logging.getLogger()
    before, opened = root.level, LogBook()
    with override_settings(JOBQUEUE={"log_level": level}):
        opened.open()
        try:
            run(job, *[lambda x=x: getattr(log, x)(x) for x in ("debug", "info", "warning")])
        finally:
            root.removeHandler(opened)
            root.setLevel(before)
    assert said(opened.unwritten()) == caught


@pytest.mark.parametrize("odd", [{"name": None}, {"name": 7}, {"created": 1e18}, {"msg": 17}])
def test_no_record_is_so_odd_that_it_fails_its_job(
    book: LogBook, job: ClaimedJob, odd: dict[str, Any]
) -> None:
    made = {"name": "x", "levelno": logging.ERROR, "msg": "hi"} | odd
    run(job, lambda: log.handle(logging.makeLogRecord(made)))
    (line,) = book.unwritten()
    assert "could not be kept" in line.message or line.message == "17"


def test_what_a_loggers_own_handlers_and_python_itself_print_stays(
    book: LogBook, job: ClaimedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    root, own = logging.getLogger(), logging.getLogger("test.with.ears")
    own.addHandler(Ear())
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging, "lastResort", Ear(logging.WARNING))
    root.setLevel("WARNING")
    book.open()
    try:
        run(job, lambda: own.info("quiet"), lambda: log.info("quiet as well"))
        run(job, lambda: own.error("heard once"), lambda: log.error("printed by Python"))
    finally:
        own.handlers.clear()
    assert heard == ["heard once", "printed by Python"]
    assert len(book.unwritten()) == 4


def test_what_the_other_handlers_heard_before_is_what_they_hear(book: LogBook) -> None:
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    root, ear, chatty = logging.getLogger(), Ear(), logging.getLogger("test.chatty")
    root.removeHandler(book)
    root.setLevel("WARNING")
    root.addHandler(ear)
    chatty.setLevel("DEBUG")
    try:
        book.open()
        log.info("not heard before either")
        log.warning("a warning")
        chatty.getChild("deeper").debug("of a logger with a level of its own")
    finally:
        root.removeHandler(ear)
        chatty.setLevel("NOTSET")
    assert heard == ["a warning", "of a logger with a level of its own"]


# ---- The finisher.


@pytest.fixture
def finishing(book: LogBook) -> Iterator[tuple[HeldJobs, Finisher]]:
    held, ledger = HeldJobs(4), Ledger(4)
    yield held, Finisher(WORKER, held, ledger)
    ledger.close()


def end(finishing: tuple[HeldJobs, Finisher], job: ClaimedJob, status: Status) -> None:
    held, role = finishing
    one = HeldJob(job, find("echo"), 0)
    held.add([one])
    role.put(one, outcome(job, status))
    role.tick()


def test_lines_are_there_before_the_outcome(
    finishing: tuple[HeldJobs, Finisher], job: ClaimedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    finish = store.finish

    def watched(*arguments: Any) -> Any:
        counts.append(LogLine.objects.count())
        return finish(*arguments)

    monkeypatch.setattr(store, "finish", watched)
    run(job, lambda: log.info("one"), lambda: log.info("two"))
    end(finishing, job, Status.DONE)
    assert counts == [2]
    assert list(LogLine.objects.values_list("message", flat=True)) == ["one", "two"]


def test_lines_of_a_running_job_are_written_while_it_runs_and_once(
    book: LogBook, finishing: tuple[HeldJobs, Finisher], job: ClaimedJob, monkeypatch: Any
) -> None:
    held, role = finishing
    monkeypatch.setattr(finisher, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(finisher, "LOG_SECONDS", 0)
    held.add([HeldJob(job, find("echo"), 0)])
    run(job, lambda: log.info("one"))
    role.tick()
    run(job, lambda: log.info("two"))
    role.tick()
    role.tick()
    assert list(LogLine.objects.values_list("number", "message")) == [(1, "one"), (2, "two")]
    assert book.unwritten() == []


def test_between_two_writes_of_running_jobs_there_is_a_pause(
    book: LogBook, finishing: tuple[HeldJobs, Finisher], job: ClaimedJob, monkeypatch: Any
) -> None:
    held, role = finishing
    monkeypatch.setattr(finisher, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(finisher, "LOG_SECONDS", 3_600)
    held.add([HeldJob(job, find("echo"), 0)])
    role.tick()
    run(job, lambda: log.info("one"))
    role.tick()
    assert said(book.unwritten()) == ["one"]
    assert not LogLine.objects.exists()


def test_lines_that_cannot_be_written_keep_no_outcome_back(
    book: LogBook, finishing: tuple[HeldJobs, Finisher], job: ClaimedJob, monkeypatch: Any
) -> None:
    def refuse(lines: Any) -> None:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(store, "keep_log", refuse)
    run(job, lambda: log.info("one"))
    end(finishing, job, Status.DONE)
    assert store.finish(WORKER, [outcome(job, Status.DONE)]) == set(), "it was recorded"
    assert book.unwritten() == [], "nobody would ever write them"


def test_a_line_that_the_database_refuses_costs_no_other_job_its_lines(
    finishing: tuple[HeldJobs, Finisher],
    book: LogBook,
    alice: Tenant,
    job: ClaimedJob,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = claim_one(alice)
    held, role = finishing
    held.add([HeldJob(one, find("echo"), 0) for one in (job, other)])
    keep = store.keep_log

    def refuse(lines: list[Logged]) -> None:
        if any(line.message == "refused" for line in lines):
            raise DataError("no such value")
        keep(lines)

    monkeypatch.setattr(store, "keep_log", refuse)
    run(job, lambda: log.info("refused"))
    run(other, lambda: log.info("kept"))
    role.tick()
    assert [line.message for line in LogLine.objects.all()] == ["kept"]
    assert book.unwritten() == []
    assert str(job.id) in {getattr(record, "job_id", None) for record in caplog.records}


def test_code_that_outlives_its_attempt_is_not_listened_to(
    book: LogBook, finishing: tuple[HeldJobs, Finisher], job: ClaimedJob, monkeypatch: Any
) -> None:
    monkeypatch.setattr(finisher, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(finisher, "LOG_SECONDS", 0)
    end(finishing, job, Status.DONE)
    run(job, lambda: log.info("still here"))
    finishing[1].tick()
    assert book.unwritten() == []
    assert not LogLine.objects.exists()
