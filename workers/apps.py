"""The engine app."""

from django.apps import AppConfig


class WorkersConfig(AppConfig):
    """Worker processes: claim, run, finish."""

    name = "workers"
