"""The demo app."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """A realistic workload, and a proof that judges itself."""

    name = "demo"
