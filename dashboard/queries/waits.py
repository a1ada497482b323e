"""How long jobs had waited before a start, for each bucket of the charts."""

from collections import Counter, defaultdict
from datetime import datetime

from dashboard.queries.history import Range, past_and_recent
from dashboard.scope import PageScope
from jobs.store.minutes import EVERYBODY
from jobs.store.waits import read_waits

Waits = dict[int, Counter[int]]
"""By the beginning of a bucket of the chart: how many attempts waited for about how long, as
`jobs.store.waits` counts them."""


def waits_over_time(scope: PageScope, span: Range, now: datetime) -> Waits:
    """The waits of the attempts that ended in the range, of the tenants in scope."""
    whose = [tenant.pk if tenant else EVERYBODY for tenant in scope.searched]
    steps = span.steps(now)

    def read(since: datetime, until: datetime) -> list[tuple[int, int, int]]:
        return read_waits(whose, since, until, step_seconds=steps.step)

    found: Waits = defaultdict(Counter)
    for at, length, attempts in past_and_recent("waits", whose, span, now, read):
        if at in steps:
            found[at][length] += attempts
    return found
