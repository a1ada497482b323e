"""How figures are written on pages: statuses, ages, durations, links."""

from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from django import template
from django.template import RequestContext
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard.queries.counts import Count, total
from dashboard.scope import PageScope
from jobs.filters import bare_or_quoted
from jobs.models import Job, Lane, Operation, Worker
from jobs.statuses import OperationState, Status

register = template.Library()

NOTHING = "—"
PLACES = {"partial", "before", "after", "page"}
"""What of an address tells the place in a list, or a part of the page."""


class Face(NamedTuple):
    """How a status is shown: always colour (by its CSS class), icon and word together."""

    icon: str
    noun: str
    meaning: str


FACES = {
    Status.SCHEDULED: Face("clock", "Scheduled", "waits for its time"),
    Status.BLOCKED: Face("lock", "Blocked", "waits for other jobs"),
    Status.PENDING: Face("queue", "Waiting", "ready, waits for a worker"),
    Status.RUNNING: Face("play", "Running", "a worker is at it"),
    Status.FAILED: Face("loop", "Retrying", "failed, will be tried again"),
    Status.DONE: Face("check", "Done", "succeeded"),
    Status.DLQ: Face("cross", "Dead", "dead letter: failed for good"),
    Status.CANCELLED: Face("slash", "Cancelled", "was called off"),
}


@register.simple_tag
@cache
def icon(name: str) -> SafeString:
    """An icon of the sprite; decoration only, a word stands beside it."""
    sprite = static("dashboard/icons.svg")
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        sprite,
        name,
    )


@register.simple_tag
def badge(status: str) -> SafeString:
    """A job's status by colour, icon and its word in the API."""
    face = FACES[Status(status)]
    return format_html(
        '<span class="badge status-{}" title="{}">{}{}</span>',
        status.lower(),
        face.meaning,
        icon(face.icon),
        status,
    )


_OPERATION_FACES = {
    OperationState.RUNNING: ("running", "play"),
    OperationState.DONE: ("done", "check"),
    OperationState.FAILED: ("dlq", "cross"),
    OperationState.CANCELLED: ("cancelled", "slash"),
}


@register.simple_tag
def operation_badge(state: str) -> SafeString:
    """The state of a bulk operation by colour, icon and word."""
    hue, drawing = _OPERATION_FACES[OperationState(state)]
    return format_html(
        '<span class="badge status-{}">{}{}</span>', hue, icon(drawing), state.lower()
    )


@register.simple_tag
def expected(operation: Operation) -> Count:
    """The jobs that were counted when it began."""
    return Count(operation.expected, operation.is_expected_capped)


@register.simple_tag
def progress(operation: Operation) -> SafeString:
    """How far a bulk operation came, of the jobs that were counted when it began."""
    whole = max(operation.expected, operation.matched, 1)
    at = whole if operation.state == OperationState.DONE else operation.matched
    return format_html(
        '<span class="progress"><progress max="{}" value="{}"></progress> {} of {}</span>',
        *(whole, at, f"{operation.matched:,}", expected(operation)),
    )


@register.filter
def face(status: str) -> Face:
    """How the status is shown."""
    return FACES[Status(status)]


ID_SHOWN = 18
"""Characters of an id with its time and its place within the millisecond: few jobs share them."""


@register.filter
def id_start(job_id: object) -> str:
    """The beginning of an id, by which a filter finds the job."""
    return str(job_id)[:ID_SHOWN]


@register.simple_tag
def short_id(job_id: object) -> SafeString:
    """The beginning of an id; the whole one on hover."""
    return format_html('<code class="id-start" title="{}">{}</code>', job_id, id_start(job_id))


@register.simple_tag
def task_name(task: str) -> SafeString:
    """A task, the module of a Python function being less to look at than its name."""
    module, dot, name = task.rpartition(".")
    return format_html('<b><small class="module">{}</small>{}</b>', module + dot, name)


@register.filter
def nil(value: object) -> str:
    """The class of a cell that has nothing to tell: cards leave it out."""
    return "" if value else " nil"


@register.simple_tag
def ago(moment: datetime | None, now: datetime) -> SafeString:
    """A time told from now, kept fresh by the page's script; the exact one on hover."""
    if moment is None:
        return SafeString(NOTHING)
    seconds = (now - moment).total_seconds()
    text = f"in {duration(-seconds)}" if seconds < 0 else f"{duration(seconds)} ago"
    return _time(moment, text, "ago")


@register.simple_tag
def age(moment: datetime | None, now: datetime) -> SafeString:
    """How long ago that was, without saying so."""
    if moment is None:
        return SafeString(NOTHING)
    return _time(moment, duration((now - moment).total_seconds()), "age")


def _time(moment: datetime, text: str, style: str) -> SafeString:
    return format_html(
        '<time datetime="{}" title="{}" data-time="{}">{}</time>',
        moment.astimezone(UTC).isoformat(),
        exact(moment),
        style,
        text,
    )


@register.filter
def exact(moment: datetime | None) -> str:
    """A time in UTC to the millisecond."""
    if moment is None:
        return NOTHING
    return f"{moment.astimezone(UTC).isoformat(' ', 'milliseconds')[:23]} UTC"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


@register.filter
def duration(seconds: float | None) -> str:
    """A length of time with the one unit that tells it: `42 ms`, `3.2 s`, `12 min`, `5 h`."""
    if seconds is None:
        return NOTHING
    seconds = max(seconds, 0)
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    if seconds >= 10:
        return f"{int(seconds)} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{round(seconds * 1000)} ms"


@register.filter
def percent(share: float | None) -> str:
    """A share of one, in hundredths."""
    if share is None:
        return NOTHING
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}"


@register.filter
def took(job: Job) -> str:
    """How long the last attempt ran."""
    if job.started_at is None or job.finished_at is None:
        return NOTHING
    return duration((job.finished_at - job.started_at).total_seconds())


@register.filter
def lifetime(worker: Worker) -> str:
    """How long a worker that has stopped was there."""
    ended = worker.stopped_at or worker.seen_at
    return duration((ended - worker.started_at).total_seconds())


@register.filter
def slug_in(tenant_id: int, scope: PageScope) -> str:
    """The name of a tenant of the scope."""
    return scope.slugs.get(tenant_id, NOTHING)


@register.filter
def number(value: int) -> str:
    """A count with its thousands apart."""
    return f"{value:,}"


@register.filter
def capped(value: int) -> str:
    """A count that stopped at the cap."""
    return str(total([value]))


@register.filter
def words(code: str) -> str:
    """A code of the API as words."""
    return code.replace("_", " ")


@register.filter
def megabytes(number: int) -> str:
    """Bytes in MB."""
    return f"{number / 1_048_576:,.0f} MB" if number else NOTHING


@register.filter
def as_text(stored: bytes | memoryview) -> str:
    """The beginning of stored JSON, on one line."""
    return " ".join(bytes(stored).decode("utf-8", errors="replace").split())


def term(word: str, value: str) -> str:
    """A term of a filter."""
    return f"{word}:{bare_or_quoted(value)}"


@register.simple_tag(takes_context=True)
def jobs_where(
    context: RequestContext, word: str, value: str, tenant: str = "", ended_within: str = ""
) -> str:
    """The address of the jobs of which this is so; of the tenant, or of that of the page."""
    lately = f" finished:<{ended_within}" if ended_within else ""
    asked = {"filter": f"{term(word, value)}{lately}"}
    if slug := tenant or context["request"].GET.get("tenant", ""):
        asked["tenant"] = slug
    return f"{reverse('jobs')}?{urlencode(asked, safe=':')}"


@register.simple_tag(takes_context=True)
def ready_jobs(context: RequestContext, lane: Lane) -> str:
    """The address of the jobs of a lane that are ready and wait."""
    asked = {"filter": f"{term('queue', lane.queue)} status:{Status.PENDING}"}
    asked["tenant"] = context["scope"].slugs[lane.tenant_id]
    return f"{reverse('jobs')}?{urlencode(asked, safe=':')}"


@register.simple_tag(takes_context=True)
def narrowed(context: RequestContext, word: str, value: str) -> str:
    """The page's query string with one more term in its filter."""
    before = context["request"].GET.get("filter", "")
    return query(context, filter=f"{before} {term(word, value)}".strip())


@register.simple_tag(takes_context=True)
def query(context: RequestContext, **changes: Any) -> str:
    """The page's query string with changes; what is empty is left out, and so is the place."""
    asked = context["request"].GET.dict()
    merged = {name: asked[name] for name in asked if name not in PLACES} | changes
    kept = {name: value for name, value in merged.items() if value}
    return "?" + urlencode(kept, safe=":", quote_via=quote)


@register.simple_tag(takes_context=True)
def tenant_query(context: RequestContext) -> str:
    """What keeps a link to another page narrowed to the same tenant."""
    slug = context["request"].GET.get("tenant", "") if "request" in context else ""
    return format_html("?tenant={}", slug) if slug else ""


@register.simple_tag(takes_context=True)
def region_url(context: RequestContext) -> str:
    """The page's own address, its place included, without what only a fetch adds."""
    request = context["request"]
    place = {name: request.GET.get(name, "") for name in PLACES - {"partial"}}
    return f"{request.path}{query(context, **place)}"
