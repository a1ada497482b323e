"""What a job has logged: read by whoever may read jobs, told by workers over REST."""

import re

from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api import examples
from jobs.api.pages import DEFAULT_LIMIT, limit
from jobs.api.schema import COUNT, INSTANT, LIMIT, TEXT, described, page_schema, parameter, record
from jobs.api.view import TenantView
from jobs.errors import InvalidInput
from jobs.job_logs import Place, line_as_json, log_of, place_of, read_place
from jobs.keys import Scope
from jobs.store.log_lines import LEVELS

MAX_ATTEMPT = 32_767
_LINE_ID = {"type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,9}$"}
_LEVEL = {"type": "string", "enum": list(LEVELS)}
_LINE = record(
    {
        "id": _LINE_ID,
        "attempt": COUNT,
        "number": {**COUNT, "description": "Among the lines of its attempt, from 1."},
        "at": {**INSTANT, "description": "By the clock of the machine that logged it."},
        "level": _LEVEL,
        "logger": TEXT,
        "message": TEXT,
    }
)
_PAGE = {
    **page_schema(_LINE),
    "examples": [{"results": [examples.LOG_LINE], "next": None}],
}


def _attempt(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value) or not 1 <= int(value) <= MAX_ATTEMPT:
        raise InvalidInput("is the number of an attempt, from 1.", code="out_of_range")
    return int(value)


class JobLogs(TenantView):
    """`/jobs/{id}/logs`"""

    scopes = {"GET": Scope.READ}
    query = {"attempt": _attempt, "after": read_place, "limit": limit}

    @described(
        "list_log_lines",
        "What a job has logged, in order",
        answers={200: _PAGE},
        problems=("invalid_cursor",),
        parameters=[
            parameter("attempt", {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPT}),
            parameter("after", {**_LINE_ID, "description": "Only lines behind this one."}),
            parameter("limit", LIMIT),
        ],
    )
    def get(self, request: Request, job_id: str) -> Response:
        """A page of lines. To follow a job that runs, ask again `after` the last one you have.

        Lines come about a second after they were logged; those of an attempt that has ended are
        all there.
        """
        asked = self.read_query(self.query)
        size = asked.pop("limit", DEFAULT_LIMIT)
        found = list(log_of(self.job(job_id), **asked)[: size + 1])
        shown = found[:size]
        more = self._address_after(place_of(shown[-1])) if len(found) > size else None
        return Response({"results": [line_as_json(line) for line in shown], "next": more})

    def _address_after(self, place: Place) -> str:
        query = self.request._request.GET.copy()
        query["after"] = str(place)
        return self.request.build_absolute_uri(f"{self.request.path}?{query.urlencode()}")
