"""How the states of queues, tenants and workers are shown: by colour, icon and word together."""

from typing import NamedTuple

from django import template
from django.template import RequestContext
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard.queries.tenants import Share
from dashboard.templatetags.dashboard import NOTHING, icon, percent, query
from jobs.worker_states import WorkerState

register = template.Library()


class Look(NamedTuple):
    """The class of the colour, the icon, and what the word means."""

    hue: str
    icon: str
    meaning: str


LANES = {
    "active": Look("worker-live", "play", "its jobs start as there is room"),
    "paused": Look("status-blocked", "pause", "no further job of it starts"),
    "suspended": Look("status-dlq", "slash", "its tenant is suspended"),
}
TENANTS = {
    True: Look("worker-live", "check", "may submit jobs, and they run"),
    False: Look("status-dlq", "slash", "submits nothing, and no further job of it starts"),
}
WORKERS = {
    WorkerState.LIVE: Look("worker-live", "check", "takes jobs"),
    WorkerState.QUIET: Look("worker-draining", "pause", "takes no more jobs"),
    WorkerState.DRAINING: Look("worker-draining", "pause", "ends when its jobs have"),
    WorkerState.STALE: Look(
        "worker-stale", "warning", "has not been heard of for longer than a lease"
    ),
    WorkerState.STOPPED: Look("worker-stopped", "slash", "is gone"),
}


RISING = {"tenant", "queue", "workers"}
"""The columns whose order begins with the least."""


def _badge(look: Look, word: str) -> SafeString:
    return format_html(
        '<span class="badge {}" title="{}">{}{}</span>',
        *(look.hue, look.meaning, icon(look.icon), word),
    )


@register.simple_tag
def lane_badge(state: str) -> SafeString:
    """Whether a queue's jobs start."""
    return _badge(LANES[state], state)


@register.simple_tag
def tenant_badge(is_active: bool) -> SafeString:
    """Whether a tenant is suspended."""
    return _badge(TENANTS[is_active], "active" if is_active else "suspended")


@register.simple_tag
def worker_badge(state: WorkerState) -> SafeString:
    """What a worker process does."""
    return _badge(WORKERS[state], state)


@register.simple_tag(takes_context=True)
def sort_by(
    context: RequestContext, name: str, label: str, now: str, style: str = "", title: str = ""
) -> str:
    """The head of a column that orders the table when it is clicked; `title` explains it."""
    way, arrow = ("ascending", "↑") if name in RISING else ("descending", "↓")
    is_chosen = name == now
    return format_html(
        '<th class="{}"{}><a href="{}" class="sort"{}>{}{}</a></th>',
        style,
        format_html(' aria-sort="{}"', way) if is_chosen else "",
        query(context, sort=name),
        format_html(' title="{}"', title) if title else "",
        label,
        f" {arrow}" if is_chosen else "",
    )


@register.simple_tag
def share_bar(share: Share) -> SafeString:
    """What a tenant got of the run time, with a mark where its due ends."""
    if share.run_time is None:
        return SafeString(NOTHING)
    due = share.due or 0
    return format_html(
        '<span class="in-flight"><svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none"'
        ' aria-hidden="true"><rect class="whole" width="100" height="10"></rect>'
        '<rect class="got" width="{}" height="10"></rect>'
        '<rect class="due" x="{}" width="2" height="10"></rect></svg> {} '
        "<small>due {}</small></span>",
        round(100 * share.run_time, 1),
        round(98 * due, 1),
        percent(share.run_time),
        percent(share.due),
    )
