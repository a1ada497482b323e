"""System checks: what would go wrong later, said at the start."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

from jobs.conf import conf, known_keys

TAG = "jobqueue"


@checks.register(TAG)
def check_settings(app_configs: Any, **kwargs: Any) -> Sequence[checks.CheckMessage]:
    """The `JOBQUEUE` setting holds known keys and possible values."""
    unknown = sorted(set(getattr(settings, "JOBQUEUE", {})) - known_keys())
    found: list[checks.CheckMessage] = [
        checks.Error(
            f"JOBQUEUE has an unknown key {key!r}.",
            hint=f"Known keys: {', '.join(sorted(known_keys()))}.",
            id="jobs.E001",
        )
        for key in unknown
    ]
    found += [checks.Error(f"JOBQUEUE: {text}.", id="jobs.E002") for text in conf().problems()]
    return found
