"""What machines ask: is it alive, is it ready, how much is there. No key, no limits."""

from functools import cache

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.prometheus import exposition
from jobs.api.schema import TEXT, described, record
from jobs.api.view import PublicView
from jobs.errors import JobQueueError

HEALTH = record({"status": TEXT})


class NotReady(JobQueueError):
    """The installation cannot serve yet."""

    code = "not_ready"
    status = 503


class Live(PublicView):
    """`/health/live`"""

    @described("get_liveness", "Whether the process answers", answers={200: HEALTH}, is_public=True)
    def get(self, request: Request) -> Response:
        """Asks nothing of the database."""
        return Response({"status": "live"})


class Ready(PublicView):
    """`/health/ready`"""

    @described(
        "get_readiness",
        "Whether jobs can be taken",
        answers={200: HEALTH},
        problems=("not_ready",),
        is_public=True,
    )
    def get(self, request: Request) -> Response:
        """503 while the database cannot be reached or lacks migrations."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        _require_migrations()
        return Response({"status": "ready"})


class Metrics(PublicView):
    """`/metrics`, for Prometheus"""

    schema = None

    def get(self, request: Request) -> HttpResponse:
        """The figures of the whole installation."""
        return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)


@cache
def _require_migrations() -> None:
    """Raise `NotReady` while migrations are missing; once they are applied, they stay so."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise NotReady(f"{len(missing)} migrations are not applied: run manage.py migrate.")
