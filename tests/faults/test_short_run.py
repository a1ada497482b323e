"""A short run under faults, on the kind of database that is under test."""

import os

import pytest
from django.db import connection

from tests.harness import ProjectProcess
from tests.postgres import PostgresUnavailable, find_binaries

SEED = 1
JOBS = 400
MINUTES = 4
"""Far more than it takes where nothing else runs."""
FAULTS = {
    "postgresql": [
        *("kill-worker", "kill-supervisor", "kill-web", "cut", "drop-replies"),
        *("terminate-backends", "kill-own-child", "eat-memory"),
    ],
    "sqlite": ["kill-worker", "kill-supervisor", "kill-web", "hold-lock", "kill-own-child"],
}


@pytest.fixture
def database() -> str:
    """What the run is to bring along."""
    if connection.vendor == "postgresql":
        try:
            find_binaries()
        except PostgresUnavailable as reason:
            pytest.skip(str(reason))
    return connection.vendor


def test_nothing_is_lost_doubled_or_wrong_under_faults(database: str) -> None:
    arguments = ["--seed", SEED, "--jobs", JOBS, "--minutes", MINUTES, "--database", database]
    command = ["-m", "tests.faults", *map(str, arguments), "--only", *FAULTS[database]]
    with ProjectProcess(*command, env=os.environ) as run:
        assert run.wait(timeout=MINUTES * 60 + 120) == 0, run.output[-8_000:]
        assert f"{JOBS} of {JOBS} jobs have ended" in run.output
