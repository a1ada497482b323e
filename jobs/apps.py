"""The domain app."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs, tenants, keys and everything that may happen to them."""

    name = "jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from jobs import checks  # noqa: F401, PLC0415
