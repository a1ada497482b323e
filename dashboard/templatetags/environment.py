"""Which of several installations this is, for the head of every page."""

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def environment_name() -> str:
    """The name that the setting gives it; empty by default."""
    return str(settings.ENVIRONMENT_NAME)
