"""System checks: what would go wrong later, said at the start."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.cache import caches

from jobs import data_keys
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


@checks.register(TAG)
def check_encryption_keys(app_configs: Any, **kwargs: Any) -> Sequence[checks.CheckMessage]:
    """The keys of the environment can be read, each under an id of its own."""
    return [
        checks.Error(
            f"ENCRYPTION_KEYS: {text}.",
            hint="Make one with: echo k1:$(openssl rand -base64 32)",
            id="jobs.E003",
        )
        for text in data_keys.problems()
    ]


@checks.register(TAG)
def check_cache(app_configs: Any, **kwargs: Any) -> Sequence[checks.CheckMessage]:
    """What the cache is reached by is installed; its server may be away."""
    try:
        getattr(caches["default"], "_cache", None)  # Redis has its driver imported no earlier
    except ImportError as error:
        return [
            checks.Error(
                f"CACHE_URL: {error}.",
                hint="Install what requirements.txt names.",
                id="jobs.E004",
            )
        ]
    return []
