"""How log lines are written on pages."""

from datetime import UTC, datetime

from django import template

from jobs import job_logs

register = template.Library()


@register.filter
def level_name(level: int) -> str:
    """The level as logs write it."""
    return job_logs.level_name(level).upper()


@register.filter
def clock(moment: datetime) -> str:
    """The time of day in UTC, to the millisecond."""
    return moment.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]
