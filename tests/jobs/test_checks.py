"""What is refused before anything runs."""

import sys
from typing import Any

import pytest

from jobs.checks import check_cache


@pytest.fixture
def redis(settings: Any) -> None:
    """Cached in a Redis that nobody runs."""
    backend = "django.core.cache.backends.redis.RedisCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "redis://127.0.0.1:1"}}


def test_a_redis_without_its_driver_is_told(redis: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    assert [found.id for found in check_cache(None)] == ["jobs.E004"]


def test_a_redis_that_is_away_is_no_wrong_setting(redis: None) -> None:
    assert check_cache(None) == []
