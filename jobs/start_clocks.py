"""The clocks that starts are paced by, when a pace changes or goes."""

from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.models import Lane, StartClock, TaskLimit, Tenant


def keep_clock(limited: Tenant | Lane | TaskLimit, earlier: int | None) -> None:
    """Let the starts that there were be paid off at the new pace instead of `earlier` a minute.

    The clock is nobody else's: who changes limits has passed the gate alone.
    """
    later = limited.starts_per_minute
    if earlier is None or later is None:
        clocks_of(limited).delete()
        return
    for clock in clocks_of(limited).annotate(now=Now()):
        now = clock.now.timestamp()
        owed = min((clock.paid_off_at - now) * earlier / 60, limited.start_burst)
        clock.paid_off_at = now + owed * 60 / later
        clock.save()


def clocks_of(*limited: Tenant | Lane | TaskLimit) -> QuerySet[StartClock]:
    """The clocks of a tenant, its lanes, limits of tasks."""
    kind = {Tenant: "T", Lane: "L", TaskLimit: "K"}
    return StartClock.objects.filter(holder__in=[f"{kind[type(x)]}{x.pk}" for x in limited])
