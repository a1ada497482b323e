"""Jobs: submit, list, look at, explain, cancel, retry."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from jobs import services
from jobs.api.conditional import answer
from jobs.api.job_schema import (
    BULK_ANSWER,
    BULK_REQUEST,
    EXPLANATION,
    JOB,
    JOB_PAGE,
    JOB_REQUEST,
    JOB_WITH_ATTEMPTS,
    SUBMISSION_PROBLEMS,
)
from jobs.api.pages import page_of_jobs, read_page
from jobs.api.parsers import body_of
from jobs.api.rate_limits import mismatches_counted, submission_headers
from jobs.api.schema import (
    ETAG,
    IF_NONE_MATCH,
    PREFER_WAIT,
    PREFERENCE_APPLIED,
    RATE_LIMIT,
    described,
    list_parameters,
    location,
)
from jobs.api.view import TenantView
from jobs.conf import conf
from jobs.errors import InsufficientScope, InvalidInput, PayloadTooLarge
from jobs.job_filters import JOB_FILTERS
from jobs.job_json import attempt_as_json, explanation_as_json, job_as_json, without_contents
from jobs.job_request import read_bulk, read_job
from jobs.job_rows import attempts_of, job_of
from jobs.keys import Scope, allows
from jobs.models import ApiKey, Job
from jobs.statuses import Status
from jobs.why import explain


class Jobs(TenantView):
    """`/jobs`"""

    scopes = {"POST": Scope.SUBMIT, "GET": Scope.READ}
    query = None

    @described(
        "submit_job",
        "Submit a job",
        request=JOB_REQUEST,
        answers={201: JOB, 200: JOB},
        parameters=[location(200, 201), *RATE_LIMIT],
        problems=SUBMISSION_PROBLEMS,
        takes_idempotency_key=True,
    )
    def post(self, request: Request) -> Response:
        """201 with the new job; 200 with the earlier one for a repeated idempotency key.

        Of an earlier job, a key without the scope `read` is told no payload, result or error.
        """
        new = read_job(
            body_of(request), self.tenant, header_key=request.headers.get("Idempotency-Key")
        )
        self.require_queues([new.queue])
        with mismatches_counted(request, self.key, [new]):
            submitted = services.submit(self.tenant, new, with_row=True)
        job = job_of(submitted.row) if submitted.row else self.job(submitted.job_id)
        headers = {"Location": f"{request.path}/{job.pk}", **submission_headers(self.tenant)}
        status = 201 if submitted.created else 200
        shown = shown_to(self.key, job, is_new=submitted.created)
        return Response(shown, status=status, headers=headers)

    @described(
        "list_jobs",
        "List jobs, newest first",
        answers={200: JOB_PAGE},
        parameters=list_parameters(JOB_FILTERS),
    )
    def get(self, request: Request) -> Response:
        """A page of the tenant's jobs.

        A page looks at 10,000 jobs at most for a queue, a task or a usual status, so it can hold
        few or none of them: the list has ended where `next` is null.
        """
        page = read_page(request, self.tenant, JOB_FILTERS)
        return Response(page_of_jobs(request, self.tenant, page, within=self.allowed))


class BulkJobs(TenantView):
    """`/jobs/bulk`"""

    scopes = {"POST": Scope.SUBMIT}
    is_bulk = True

    @described(
        "submit_jobs",
        "Submit up to 1,000 jobs, all or none",
        request=BULK_REQUEST,
        answers={201: BULK_ANSWER, 200: BULK_ANSWER},
        parameters=RATE_LIMIT,
        problems=(*SUBMISSION_PROBLEMS, "more_than_limit"),
    )
    def post(self, request: Request) -> Response:
        """201 with the ids in order; 200 if every one of them was submitted before."""
        if "Idempotency-Key" in request.headers:
            raise InvalidInput("In bulk, give each job an idempotency_key of its own.")
        body = body_of(request)
        _refuse_too_many(body.get("jobs"))
        jobs = read_bulk(body, self.tenant)
        self.require_queues(job.queue for job in jobs)
        with mismatches_counted(request, self.key, jobs):
            submitted = services.submit_many(self.tenant, jobs)
        created = sum(one.created for one in submitted)
        answer = {"ids": [str(one.job_id) for one in submitted], "created": created}
        headers = submission_headers(self.tenant)
        return Response(answer, status=201 if created else 200, headers=headers)


class OneJob(TenantView):
    """`/jobs/{id}`"""

    scopes = {"GET": Scope.READ}

    @described(
        "get_job",
        "One job with its failed attempts",
        answers={200: JOB_WITH_ATTEMPTS, 304: None},
        parameters=[IF_NONE_MATCH, PREFER_WAIT, ETAG, PREFERENCE_APPLIED],
    )
    def get(self, request: Request, job_id: str) -> Response:
        """The job, its attempts oldest first.

        With `Prefer: wait=25` the answer waits, up to 60 seconds, until the job has ended, or with
        `If-None-Match` until it has changed in more than its lease; `Preference-Applied` says that
        it did. A server that cannot wait, as under WSGI, answers at once and does not say so.
        """
        job = self.job(job_id)
        attempts = [attempt_as_json(attempt) for attempt in attempts_of(job)]
        return answer(request, self.tenant, job, {**job_as_json(job), "attempts": attempts})


class CancelJob(TenantView):
    """`/jobs/{id}/cancel`"""

    scopes = {"POST": Scope.SUBMIT}

    @described("cancel_job", "Cancel a job", answers={200: JOB}, problems=("status_conflict",))
    def post(self, request: Request, job_id: str) -> Response:
        """At once while it waits; a running job is stopped at its worker's next heartbeat.

        A key without the scope `read` is told neither payload nor result nor error.
        """
        job = services.cancel(self.job(job_id), actor=self.actor)
        return Response(shown_to(self.key, job))


class RetryJob(TenantView):
    """`/jobs/{id}/retry`"""

    scopes = {"POST": Scope.SUBMIT}

    @described(
        "retry_job",
        "Run a failed or dead job now",
        answers={200: JOB},
        problems=("status_conflict", "encryption_key_erased"),
    )
    def post(self, request: Request, job_id: str) -> Response:
        """A failed job skips the rest of its backoff; a dead letter starts afresh.

        As that redrives it, it needs the scope `admin`. A key without the scope `read` is told
        neither payload nor result nor error.
        """
        job, may_redrive = self.job(job_id), allows(self.key, Scope.ADMIN)
        if job.status == Status.DLQ and not may_redrive:
            raise InsufficientScope("Retrying a dead letter needs a key with the scope 'admin'.")
        retried = services.retry(job, actor=self.actor, may_redrive=may_redrive)
        return Response(shown_to(self.key, retried))


class WhyJob(TenantView):
    """`/jobs/{id}/why`"""

    scopes = {"GET": Scope.READ}

    @described("explain_job", "Why a job does not run now", answers={200: EXPLANATION})
    def get(self, request: Request, job_id: str) -> Response:
        """The gates in its way, in the order in which they open."""
        return Response(explanation_as_json(explain(self.job(job_id))))


def shown_to(key: ApiKey, job: Job, *, is_new: bool = False) -> dict[str, Any]:
    """The job as this key may see it; `is_new`, if it has just made it."""
    shown = job_as_json(job)
    return shown if allows(key, Scope.READ) else without_contents(shown, is_new=is_new)


def _refuse_too_many(jobs: Any) -> None:
    limit = conf().max_bulk_jobs
    if isinstance(jobs, list) and len(jobs) > limit:
        raise PayloadTooLarge(f"At most {limit} jobs can be submitted at once.")
