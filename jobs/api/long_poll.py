"""Long polls under ASGI: a request for jobs is asked again when there may be some (`held`).

The watcher of the process tells when. So while a worker waits, it holds no thread and no
connection, and has no request in Django.
"""

from collections.abc import Sequence
from functools import partial

from django.db import connections
from rest_framework.request import Request

from jobs.api.asgi import AsgiScope
from jobs.api.held import hold_of
from jobs.leases import Wish, give_back
from jobs.leases_waiting import watcher
from jobs.models import Job

PATH = "/api/v1/leases"
MAX_WAITING = 2_000
"""So many workers of one tenant wait in one process; the others are told to come again."""


def asks_for_jobs(scope: AsgiScope) -> bool:
    """Whether the request is one for jobs."""
    return scope.get("path") == PATH and scope.get("method") == "POST"


def hand_out(request: Request, jobs: Sequence[Job]) -> None:
    """From the view: these were granted. They go back if the client is gone when it is answered."""
    if jobs and (hold := hold_of(request)):
        hold.undo = partial(_give_back, jobs)


def may_wait(request: Request, wish: Wish, seconds: float) -> bool:
    """From the view: keep the answer back for so long, or until there may be jobs.

    False where nobody can: under WSGI, where each waiting request would hold a thread, and where
    too many of the tenant's wait already.
    """
    hold = hold_of(request)
    if hold is None or not seconds or not hold.place.take((PATH, wish.tenant.pk), MAX_WAITING):
        return False
    hold.change, hold.seconds = partial(watcher.may_have_jobs, wish), seconds
    return True


def _give_back(jobs: Sequence[Job]) -> None:
    try:
        give_back(jobs)
    finally:
        connections.close_all()
