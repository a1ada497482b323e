"""Structured logs: one JSON object a line, with the fields that name a job. Never a payload.

Nor the query of an address, whoever logs that: it may hold the text of a filter.
"""

import json
import logging
import re
from datetime import UTC, datetime

FIELDS = (
    "request_id",
    "job_id",
    "tenant",
    "task",
    "queue",
    "attempt",
    "worker",
    "error_type",
    "count",
    "seconds",
)


# A malformed request line may have spaces in its query; the version is after the last of them.
_QUERY = re.compile(r"(/[^\s?]*)\?(?:.*(?= HTTP/)|\S*)")


class StructuredFormatter(logging.Formatter):
    """Formats a record as JSON; `extra` fields other than those of `FIELDS` are left out."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            # Servers log whole requests that went wrong.
            "message": _QUERY.sub(r"\1?...", record.getMessage()),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
