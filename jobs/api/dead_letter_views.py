"""Dead letters: list, redrive, discard."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from jobs import operations, services
from jobs.api.job_schema import JOB_PAGE, REDRIVE_ANSWER
from jobs.api.operation_views import OPERATION, RATE, accepted, narrowed
from jobs.api.pages import page_of_jobs, read_page
from jobs.api.parsers import body_of
from jobs.api.schema import (
    ERROR_TYPE,
    ID,
    NAME,
    described,
    list_parameters,
    location,
    object_of,
)
from jobs.api.view import TenantView
from jobs.errors import InvalidInput, StatusConflict
from jobs.fields import Field, ids, read_fields, text
from jobs.filters import Filter, Term, name, short_line, spelled
from jobs.job_filters import DEAD_LETTER_FILTERS
from jobs.job_search import Found, Search
from jobs.keys import Scope
from jobs.lookup import in_status
from jobs.statuses import BulkAction, Status

MAX_REDRIVE = 1_000
DEAD = Filter((Term("status", (Status.DLQ,)),))


def _ids(value: Any) -> list[UUID]:
    wanted = ids(value)
    if not 1 <= len(wanted) <= MAX_REDRIVE:
        raise InvalidInput(f"must hold 1 to {MAX_REDRIVE} ids.", code="out_of_range")
    return wanted


def _name(value: Any) -> str:
    return name(text(value))


REDRIVE_FIELDS: Mapping[str, Field] = {
    "ids": Field(_ids, {"type": "array", "items": ID, "minItems": 1, "maxItems": MAX_REDRIVE}),
    "queue": Field(_name, NAME),
    "task": Field(_name, NAME),
    "error_type": Field(lambda value: short_line(text(value)), ERROR_TYPE),
    "rate_per_second": RATE,
}
_NARROWS = {"anyOf": [{"required": [name]} for name in ("queue", "task", "error_type")]}
REDRIVE_REQUEST = {
    **object_of(REDRIVE_FIELDS, example={"queue": "hooks"}),
    "oneOf": [{"required": ["ids"], "not": _NARROWS}, {"not": {"required": ["ids"]}, **_NARROWS}],
}


class DeadLetters(TenantView):
    """`/dlq`"""

    scopes = {"GET": Scope.READ}
    query = None

    @described(
        "list_dead_letters",
        "List dead letters, newest first",
        answers={200: JOB_PAGE},
        parameters=list_parameters(DEAD_LETTER_FILTERS),
    )
    def get(self, request: Request) -> Response:
        """A page of the tenant's dead letters: those among 10,000 that match.

        So it can hold few or none: the list has ended where `next` is null.
        """
        page = read_page(request, self.tenant, DEAD_LETTER_FILTERS)
        return Response(page_of_jobs(request, self.tenant, page, within=DEAD & self.allowed))


class Redrive(TenantView):
    """`/dlq/redrive`"""

    scopes = {"POST": Scope.ADMIN}

    @described(
        "redrive_dead_letters",
        "Send dead letters back",
        request=REDRIVE_REQUEST,
        answers={200: REDRIVE_ANSWER, 202: OPERATION},
        parameters=[location(202)],
        problems=("too_many_operations",),
    )
    def post(self, request: Request) -> Response:
        """Those of `ids`, or up to 1,000 that match the filter, the oldest first.

        `more` says whether others may match: repeat the call until it is false. With
        `rate_per_second` all of them, at that pace in the background: 202 and the address of the
        operation.
        """
        given = read_fields(body_of(request), REDRIVE_FIELDS)
        rate = given.pop("rate_per_second", None)
        _check(given)
        if rate is not None:
            begun = operations.start(
                self.tenant,
                BulkAction.REDRIVE,
                narrowed(self.key, _as_filter(given)),
                actor=self.actor,
                rate_per_second=rate,
            )
            return accepted(begun, self.key)
        wanted = self._find(given)
        moved = services.redrive(
            wanted.ids,
            actor=self.actor,
            tenant=self.tenant,
            found_by=None if "ids" in given else _as_filter(given),
        )
        answer = {
            "count": len(moved),
            "ids": [str(job_id) for job_id in moved],
            "more": wanted.rest is not None,
        }
        return Response(answer)

    def _find(self, given: Mapping[str, Any]) -> Found:
        """Some of those that it is about; ids that are none of the tenant's are passed by."""
        if "ids" in given:
            dead = in_status(self.jobs, Status.DLQ).filter(pk__in=given["ids"])
            return Found(list(dead.order_by("pk").values_list("pk", flat=True)), None)
        terms = tuple(Term(word, (value,)) for word, value in given.items())
        search = Search(self.tenant, DEAD & self.allowed & Filter(terms), oldest_first=True)
        found = search.step(None, size=MAX_REDRIVE)
        while not found.ids and found.rest:  # a call that redrives none would be repeated for ever
            found = search.step(found.rest, size=MAX_REDRIVE)
        return found


class OneDeadLetter(TenantView):
    """`/dlq/{id}`"""

    scopes = {"DELETE": Scope.ADMIN}

    @described(
        "discard_dead_letter",
        "Discard a dead letter",
        answers={204: None},
        problems=("status_conflict",),
    )
    def delete(self, request: Request, job_id: str) -> Response:
        """It is gone for good, with its attempts."""
        job = self.job(job_id)
        if not services.discard([job.pk], actor=self.actor, tenant=self.tenant):
            raise StatusConflict(f"A job that is {job.status} is no dead letter.")
        return Response(status=204)


def _as_filter(given: Mapping[str, Any]) -> str:
    """What a redrive is about, in the words of a filter."""
    if "ids" in given:
        return spelled("id", *map(str, given["ids"]))
    return " ".join(spelled(word, value) for word, value in given.items())


def _check(given: Mapping[str, Any]) -> None:
    if not given or ("ids" in given and len(given) > 1):
        raise InvalidInput("Give ids, or at least one of queue, task and error_type.")
