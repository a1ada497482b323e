"""All jobs that match a filter as one file, made page by page: CSV, or JSON lines.

Only a page is held at a time, and no transaction lasts longer than one.
"""

import csv
import io
import uuid
from collections.abc import Generator
from enum import StrEnum
from typing import Any

from jobs.exact_json import Raw, dumps
from jobs.job_json import job_as_json
from jobs.job_search import Search
from jobs.models import Job

PAGE = 500
COLUMNS = (
    *("id", "task", "queue", "status", "priority", "attempt", "max_retries", "lost_count"),
    *("created_at", "run_at", "started_at", "finished_at", "reason", "error_type", "error_message"),
    *("tags", "worker_tags", "idempotency_key", "timeout_seconds", "worker", "lease_expires_at"),
    *("cancel_requested", "payload", "result", "unreadable"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
"""How a cell begins that a spreadsheet would compute (OWASP, "CSV Injection")."""


class Form(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    JSON_LINES = "jsonl"


MEDIA_TYPES = {Form.CSV: "text/csv; charset=utf-8", Form.JSON_LINES: "application/x-ndjson"}


def chunks(search: Search, form: Form) -> Generator[bytes, None, None]:
    """The file in pieces, the jobs in the order of the search.

    A piece is empty where a step of the search found nothing: whoever sends them learns that it
    goes on, can rest, and can find out that nobody reads it any more.
    """
    write = {Form.CSV: _as_csv, Form.JSON_LINES: _as_json_lines}[form]
    if form is Form.CSV:
        yield _table([COLUMNS])
    last: uuid.UUID | None = None
    while True:
        jobs, last = search.page(last, PAGE)
        yield write(jobs) if jobs else b""
        if last is None:
            return


def _as_json_lines(jobs: list[Job]) -> bytes:
    """A payload keeps its bytes but for line ends, which JSON has only where spaces may be."""
    lines = [dumps(job_as_json(job)).translate(_SPACES) for job in jobs]
    return b"\n".join([*lines, b""])


_SPACES = bytes.maketrans(b"\r\n", b"  ")


def _as_csv(jobs: list[Job]) -> bytes:
    return _table([_row(job) for job in jobs])


def _table(rows: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _row(job: Job) -> list[Any]:
    values = job_as_json(job)
    values |= {"error_type": job.error_type, "error_message": job.error_message}
    return [_cell(values[column]) for column in COLUMNS]


def _cell(value: Any) -> Any:
    """Numbers as they are, texts so that no spreadsheet takes them for a formula."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int() | float():
            return value
        case Raw():
            text = value.source.decode()
        case list():
            text = ",".join(value)
        case _:
            text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
