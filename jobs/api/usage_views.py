"""What the tenant used."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.schema import COUNT, INSTANT, NAME, described, parameter, record
from jobs.api.view import TenantView
from jobs.errors import InvalidInput
from jobs.fields import moment
from jobs.figures import COUNTS
from jobs.filters import Reader, name
from jobs.instants import instant
from jobs.keys import Scope
from jobs.usage import SECONDS, Step, usage


def _step(value: str) -> Step:
    try:
        return Step(value)
    except ValueError:
        raise InvalidInput(f"is one of {', '.join(Step)}.", code="invalid_choice") from None


PARAMETERS: dict[str, Reader] = {"from": moment, "to": moment, "step": _step, "queue": name}

NUMBER = {"type": "number"}
_SUMS = {
    **dict.fromkeys(COUNTS, COUNT),
    **dict.fromkeys((*SECONDS, "max_wait_seconds"), NUMBER),
}
_STEP = {"type": "string", "enum": list(Step)}
USAGE = record(
    {
        "from": INSTANT,
        "to": INSTANT,
        "step": _STEP,
        "results": {"type": "array", "items": record({"at": INSTANT, **_SUMS})},
        "total": record(_SUMS),
    }
)


class UsageOfTenant(TenantView):
    """`/usage`"""

    scopes = {"GET": Scope.READ}
    query = None

    @described(
        "get_usage",
        "What the tenant used",
        answers={200: USAGE},
        parameters=[
            parameter("from", {**INSTANT, "description": "RFC 3339, with an offset."}),
            parameter("to", {**INSTANT, "description": "By default with the step under way."}),
            parameter("step", {**_STEP, "default": Step.HOUR.value}),
            parameter("queue", NAME),
        ],
        problems=("queue_not_allowed", "out_of_range"),
    )
    def get(self, request: Request) -> Response:
        """Attempts that started, what they came to, and for how many seconds they ran and waited.

        By default the last hour by minutes, the last day by hours (the usual step), the last 30
        days by days. Both times are moved back to where a step begins, in UTC, and answered so:
        where one answer ends the next can begin. Steps without any are left out. One answer has
        1,500 steps at most. There are minutes of the last 2 days, hours of the last 14, and days of
        all time. What was submitted is not among it: a job counts from when it starts.
        """
        given = self.read_query(PARAMETERS)
        queues = [given["queue"]] if "queue" in given else self.key.queues
        self.require_queues(queues)
        step = given.get("step", Step.HOUR)
        found = usage(
            self.tenant, step, start=given.get("from"), end=given.get("to"), queues=queues
        )
        answer = {
            "from": instant(found.start),
            "to": instant(found.end),
            "step": step.value,
            "results": [_as_json(row) for row in found.steps],
            "total": found.total,
        }
        return Response(answer)


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "at": instant(row["at"])}
