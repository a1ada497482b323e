"""Leases, for workers in any language: get jobs, keep them, say what became of them.

The protocol, call by call: docs/worker-protocol.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from jobs import leases_logged, leases_reported, leases_requested
from jobs.api.lease_schema import (
    ACK_REQUEST,
    FAIL_REQUEST,
    HEARTBEAT_REQUEST,
    LEASE_ANSWER,
    LEASE_REQUEST,
    LOG_REQUEST,
    RELEASE_REQUEST,
    REPORT_ANSWER,
)
from jobs.api.long_poll import hand_out, may_wait
from jobs.api.parsers import body_of
from jobs.api.schema import RETRY_AFTER, described
from jobs.api.view import TenantView
from jobs.conf import conf
from jobs.fields import Field, read_fields
from jobs.instants import instant
from jobs.job_json import job_as_json
from jobs.keys import Scope
from jobs.leases import lease, why_none
from jobs.leases_reported import Answer
from jobs.leases_requested import LEASE_FIELDS, MAX_WAIT_SECONDS, lease_seconds_field

POLL_AFTER_SECONDS = 1
"""What a worker is asked to leave between polls where none of them waits."""

SEALING = ("encryption_key_missing", "encryption_key_erased")

_LEASES: Mapping[str, Field] = {"leases": Field(lambda value: value, {})}


class Leases(TenantView):
    """`/leases`"""

    scopes = {"POST": Scope.WORK}

    @described(
        "lease_jobs",
        "Lease jobs to run",
        request=LEASE_REQUEST,
        answers={200: LEASE_ANSWER},
        parameters=[RETRY_AFTER],
        problems=("tenant_inactive", "unknown_task", "too_many_workers", "queue_not_allowed"),
    )
    def post(self, request: Request) -> Response:
        """Up to `max_jobs` jobs, the best first, each with the `fence` of its lease.

        Without any, the answer comes after `wait_seconds`, or as soon as there is one. `reason`
        says if all of the queues are paused.
        """
        given = read_fields(body_of(request), LEASE_FIELDS)
        wish = leases_requested.read_wish(given, self.key)
        self.require_queues(wish.queues)
        jobs = lease(wish)
        hand_out(request, jobs)
        answer = {
            "jobs": [{**job_as_json(job), "fence": job.fence} for job in jobs],
            "reason": None if jobs else why_none(wish),
        }
        wait = min(given.get("wait_seconds", 0), MAX_WAIT_SECONDS)
        if jobs or may_wait(request, wish, wait):
            return Response({**answer, "poll_after_seconds": 0})
        headers = {"Retry-After": str(POLL_AFTER_SECONDS)}
        return Response({**answer, "poll_after_seconds": POLL_AFTER_SECONDS}, headers=headers)


class Heartbeat(TenantView):
    """`/leases/heartbeat`"""

    scopes = {"POST": Scope.WORK}

    @described(
        "extend_leases",
        "Keep leases",
        request=HEARTBEAT_REQUEST,
        answers={200: REPORT_ANSWER},
        problems=("missing_field",),
    )
    def post(self, request: Request) -> Response:
        """Each lease that is still held lasts for `lease_seconds` from now on.

        Where `cancel_requested` is true, stop the job and release or fail it.
        """
        fields = {**_LEASES, "lease_seconds": lease_seconds_field}
        given = read_fields(body_of(request), fields)
        held = leases_requested.read_held(given.get("leases"))
        seconds = given.get("lease_seconds", conf().lease_seconds)
        return _results(leases_reported.heartbeat(self.key, held, lease_seconds=seconds))


class Ack(TenantView):
    """`/leases/ack`"""

    scopes = {"POST": Scope.WORK}

    @described(
        "acknowledge_jobs",
        "Record results of jobs that succeeded",
        request=ACK_REQUEST,
        answers={200: REPORT_ANSWER},
        problems=("missing_field", "repeated_job", *SEALING),
    )
    def post(self, request: Request) -> Response:
        """They are DONE. Repeating the call changes nothing and is answered the same way."""
        done = leases_requested.read_done(_items(request))
        return _results(leases_reported.acknowledge(self.key, done))


class Fail(TenantView):
    """`/leases/fail`"""

    scopes = {"POST": Scope.WORK}

    @described(
        "fail_jobs",
        "Record failures",
        request=FAIL_REQUEST,
        answers={200: REPORT_ANSWER},
        problems=("missing_field", "repeated_job", *SEALING),
    )
    def post(self, request: Request) -> Response:
        """They are FAILED and will be retried, or are dead letters."""
        failed = leases_requested.read_failed(_items(request))
        return _results(leases_reported.fail(self.key, failed))


class Release(TenantView):
    """`/leases/release`"""

    scopes = {"POST": Scope.WORK}

    @described(
        "release_jobs",
        "Give jobs back",
        request=RELEASE_REQUEST,
        answers={200: REPORT_ANSWER},
        problems=("missing_field",),
    )
    def post(self, request: Request) -> Response:
        """They are ready again, their attempts unspent; a job that was to be cancelled is."""
        held = leases_requested.read_held(_items(request))
        return _results(leases_reported.release(self.key, held))


class Log(TenantView):
    """`/leases/logs`"""

    scopes = {"POST": Scope.WORK}

    @described(
        "log_jobs",
        "Keep what jobs log while they run",
        request=LOG_REQUEST,
        answers={200: REPORT_ANSWER},
        problems=("missing_field",),
    )
    def post(self, request: Request) -> Response:
        """They are shown with the attempt, and by `GET /jobs/{id}/logs`.

        Lines are numbered by you: those that are there already are passed over, so a call whose
        answer was lost can be repeated.
        """
        told = leases_requested.read_told(_items(request))
        return _results(leases_logged.log(self.key, told))


def _items(request: Request) -> Any:
    return read_fields(body_of(request), _LEASES).get("leases")


def _results(answers: Sequence[Answer]) -> Response:
    return Response({"results": [_result(answer) for answer in answers]})


def _result(answer: Answer) -> dict[str, Any]:
    job = answer.job
    own = job if job and job.fence == answer.fence else None  # another worker's is not told
    return {
        "job_id": str(answer.job_id),
        "fence": answer.fence,
        "ok": answer.refusal is None,
        "code": answer.refusal.value if answer.refusal else None,
        "detail": answer.detail or None,
        "status": job.status if job else None,
        "cancel_requested": bool(own and own.cancel_requested),
        "lease_expires_at": instant(own.lease_expires_at) if own else None,
    }
