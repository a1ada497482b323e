"""The tenant's queues and figures."""

from rest_framework.request import Request
from rest_framework.response import Response

from jobs import figures, services
from jobs.api.parsers import body_of, body_or_nothing_of
from jobs.api.queue_schema import FIGURES, LANE, LANES
from jobs.api.schema import described, object_of
from jobs.api.tenant_views import changes_of
from jobs.api.view import TenantView
from jobs.errors import QueueNotFound
from jobs.fields import read_fields
from jobs.instants import instant
from jobs.keys import Scope, may_use
from jobs.lane_json import PAUSE_FIELDS, lane_as_json, lane_named
from jobs.limit_fields import QUEUE_LIMITS
from jobs.models import Lane

NOT_ALLOWED = ("queue_not_allowed",)


class Queues(TenantView):
    """`/queues`"""

    scopes = {"GET": Scope.READ}

    @described("list_queues", "The queues with depth, oldest age and limits", answers={200: LANES})
    def get(self, request: Request) -> Response:
        """All that the key may use, by name."""
        lanes = [one for one in figures.lanes_of(self.tenant) if may_use(self.key, one.lane.queue)]
        return Response({"results": [lane_as_json(lane) for lane in lanes], "next": None})


class OneQueue(TenantView):
    """`/queues/{name}`"""

    scopes = {"GET": Scope.READ, "PATCH": Scope.ADMIN}

    @described("get_queue", "One queue", answers={200: LANE}, problems=NOT_ALLOWED)
    def get(self, request: Request, queue: str) -> Response:
        """Its depth, age and limits."""
        self.require_queues([queue])
        return Response(lane_named(self.tenant, queue))

    @described(
        "change_queue",
        "Change the limits of a queue",
        request=object_of(QUEUE_LIMITS, example={"max_running": 2}, at_least=1),
        answers={200: LANE},
        problems=(*NOT_ALLOWED, "above_ceiling"),
    )
    def patch(self, request: Request, queue: str) -> Response:
        """Those that are given; in force at the next claim. Null is no limit.

        A tenant may not go above what its operator has set for the queue. `weight` is the queue's
        share of what its tenant gets.
        """
        self.require_queues([queue])
        changes = changes_of(body_of(request), QUEUE_LIMITS)
        lane = Lane.objects.filter(tenant=self.tenant, queue=queue).first()
        if lane is None:
            raise QueueNotFound(self.tenant.slug, queue)
        services.change_limits(lane, actor=self.actor, by_tenant=True, **changes)
        return Response(lane_named(self.tenant, queue))


class _SetPaused(TenantView):
    scopes = {"POST": Scope.ADMIN}
    paused: bool

    def change(self, queue: str, reason: str = "") -> Response:
        """Pause or resume the queue and answer how it stands then."""
        self.require_queues([queue])
        services.set_queue_paused(
            self.tenant, queue, paused=self.paused, actor=self.actor, reason=reason
        )
        return Response(lane_named(self.tenant, queue))


class PauseQueue(_SetPaused):
    """`/queues/{name}/pause`"""

    paused = True

    @described(
        "pause_queue",
        "Start no more jobs of a queue",
        request=object_of(PAUSE_FIELDS, example={"reason": "the mail server is down"}),
        may_be_empty=True,
        answers={200: LANE},
        problems=NOT_ALLOWED,
    )
    def post(self, request: Request, queue: str) -> Response:
        """Once this has answered, no job of the queue starts; running ones go on.

        `reason` is told to everybody who sees the queue, as `pause_reason`, and in the audit log.
        Pausing a paused queue again with a reason puts that and you in the place of the earlier.
        """
        given = read_fields(body_or_nothing_of(request), PAUSE_FIELDS)
        return self.change(queue, given.get("reason", ""))


class ResumeQueue(_SetPaused):
    """`/queues/{name}/resume`"""

    paused = False

    @described(
        "resume_queue", "Start jobs of a queue again", answers={200: LANE}, problems=NOT_ALLOWED
    )
    def post(self, request: Request, queue: str) -> Response:
        """Waiting jobs start as workers find room for them."""
        return self.change(queue)


class Figures(TenantView):
    """`/metrics`"""

    scopes = {"GET": Scope.READ}
    is_of_whole_tenant = True

    @described("get_figures", "The tenant's figures", answers={200: FIGURES}, problems=NOT_ALLOWED)
    def get(self, request: Request) -> Response:
        """Counts per status, the last hour by minute, waits and runs, and the limits."""
        tenant = self.tenant
        minutes = figures.throughput(tenant)
        answer = {
            "counts": figures.status_counts(tenant),
            "throughput": [{**row, "minute": instant(row["minute"])} for row in minutes],
            **figures.waits_and_runs(tenant),
            "limits": {
                "max_running": tenant.max_running,
                "starts_per_minute": tenant.starts_per_minute,
                "submissions_per_minute": tenant.submissions_per_minute,
                "max_pending": tenant.max_pending,
            },
        }
        return Response(answer)
