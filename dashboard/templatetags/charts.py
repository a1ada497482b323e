"""How charts are written: their figures, also as a table, bars and sparklines, links to jobs."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import template
from django.template import RequestContext
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from dashboard.queries.history import Ended, Range, Series
from dashboard.templatetags.dashboard import duration, number, term

register = template.Library()


@register.filter
def as_json(series: Series) -> str:
    """Columns for a chart."""
    return json.dumps(vars(series), separators=(",", ":"))


@register.simple_tag(takes_context=True)
def chart_rows(context: RequestContext, series: Series, span: Range, queue: str = "") -> SafeString:
    """The chart as rows of a table, newest first, those without anything left out.

    In Python, as a template takes ten times as long, and a day has 96 of them. A queue has no p95.
    """
    columns = dict(vars(series))
    if queue:
        del columns["wait_p95"]
    rows = reversed(list(zip(*columns.values(), strict=True)))
    return mark_safe(  # noqa: S308  (each row is formatted)
        "".join(_row(context, *row, span=span, queue=queue) for row in rows if any(row[1:]))
    )


_ENDED = 4
"""How many columns are counts, before those that are lengths of time."""


def _row(context: RequestContext, at: int, *figures: Any, span: Range, queue: str) -> SafeString:
    start = datetime.fromtimestamp(at, UTC)
    written = [*map(number, figures[:_ENDED]), *map(duration, figures[_ENDED:])]
    return format_html(
        '<tr><td><a href="{}" data-at="{}">{}</a></td>' + '<td class="n">{}</td>' * len(written),
        ended_between(context, start, span.step, queue),
        at,
        f"{start:%Y-%m-%d %H:%M}" if span.length.days > 1 else f"{start:%H:%M}",
        *written,
    )


_SPARK_HEIGHT = 20


@register.simple_tag
def sparkline(minutes: Sequence[Ended], length: int | None = None) -> SafeString:
    """Bars of what ended in each minute; failures on top, in their own colour.

    `length` is how many minutes they are together, if not one each.
    """
    top = max((m.done + m.failed + m.dead for m in minutes), default=0) or 1
    bars = "".join(_spark_bars(x, minute, top) for x, minute in enumerate(minutes))
    done = sum(m.done for m in minutes)
    return format_html(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" '
        'aria-label="{} done in {} minutes">{}</svg>',
        len(minutes) * 4,
        _SPARK_HEIGHT,
        done,
        length or len(minutes),
        mark_safe(bars),  # noqa: S308  (made of numbers)
    )


def _spark_bars(x: int, minute: Ended, top: int) -> str:
    done = round(_SPARK_HEIGHT * minute.done / top, 1)
    bad = round(_SPARK_HEIGHT * (minute.failed + minute.dead) / top, 1)
    good = _spark_bar("good", x, _SPARK_HEIGHT - done, done) if done else ""
    above = _spark_bar("bad", x, _SPARK_HEIGHT - done - bad, bad) if bad else ""
    return good + above or _spark_bar("none", x, _SPARK_HEIGHT - 1, 1)


def _spark_bar(kind: str, x: int, top: float, height: float) -> str:
    place = f'x="{x * 4}" y="{round(top, 1)}" width="3" height="{height}"'
    return f'<rect class="{kind}" {place}></rect>'


@register.simple_tag(takes_context=True)
def ended_between(
    context: RequestContext, start: datetime, length: timedelta, queue: str = ""
) -> str:
    """The address of the jobs that ended then; `created` spares the search what came later."""
    end = f"{start + length:%Y-%m-%dT%H:%M:%SZ}"
    when = f"created:<{end} finished:>={start:%Y-%m-%dT%H:%M:%SZ} finished:<{end}"
    asked = {"filter": f"{term('queue', queue)} {when}" if queue else when}
    if slug := context["request"].GET.get("tenant", ""):
        asked["tenant"] = slug
    return f"{reverse('jobs')}?{urlencode(asked, safe=':')}"


@register.simple_tag(takes_context=True)
def queue_chart(context: RequestContext, queue: str, slug: str) -> str:
    """The address of the charts of a tenant's queue, over the range of the page."""
    asked = {"queue": queue, "tenant": slug, "range": context["request"].GET.get("range", "")}
    kept = {name: value for name, value in asked.items() if value}
    return f"{reverse('overview')}?{urlencode(kept)}"
