"""Nothing that can be generated from the description finds a lie in it, or a failure of ours.

schemathesis makes valid, invalid and extreme calls of every operation, with all of its checks but
what `schemathesis.toml` excepts, as it does from the command line. The calls are the same in every
run; ask for more, and for others, with `FUZZ_EXAMPLES=500 FUZZ_SEED=2`.
"""

import json
import os
import re
import tomllib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import schemathesis
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobqueue_project.wsgi import application
from jobs import sending
from jobs.models import Tenant
from jobs.statuses import Status
from tests.api.conftest import PROBLEM, Caller
from tests.architecture.rules import ROOT
from tests.factories import make_job

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2"))
UNSPEAKABLE = {"invalid_filter", "unknown_word", "repeated_job", "idempotency_mismatch"}
"""Codes for what is wrong in a way that no schema can say."""
FIELD_IS_MISSING = re.compile(r"(is|must|may|has|needs|says|cannot|compares)\b")
"""How a refusal would begin that does not say of what it speaks."""
IN_PROCESS = {
    "seed": int(os.environ.get("FUZZ_SEED", "1")),
    # Of the methods that an operation lacks, those of which views know least.
    "phases": {"coverage": {"unexpected-methods": ["trace", "query"]}},
    "generation": {"max-examples": EXAMPLES, "database": "none", "deterministic": True},
}

# Each call in a transaction of its own: a claim lets none that is open be idle for long.
pytestmark = pytest.mark.django_db(transaction=True)

# Of all times, one that every field takes: how far ahead is too far, no schema can say.
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
schemathesis.openapi.format("date-time", st.just(TOMORROW))


def description() -> dict[str, Any]:
    """What the API says of itself."""
    text = json.dumps(SchemaGenerator().get_schema(request=None, public=True))
    described: dict[str, Any] = json.loads(text)
    return described


def exceptions() -> dict[str, Any]:
    """What is no fault, as the command line reads it, too."""
    return tomllib.loads((ROOT / "schemathesis.toml").read_text())


def is_endless(context: Any) -> bool:
    """Whether the operation answers a stream of events: tests of its own read those."""
    answers = context.operation.definition.raw["responses"].values()
    return any("text/event-stream" in answer.get("content", {}) for answer in answers)


def map_body(context: Any, body: Any) -> Any:
    """Mend what no schema can say: a priority is written 1, and never 1.0."""
    match body:
        case {"priority": float(priority)} if priority.is_integer():
            return {**body, "priority": int(priority)}
        case {"jobs": [*jobs]}:
            return {**body, "jobs": [map_body(context, job) for job in jobs]}
        case _:
            return body


@pytest.fixture(autouse=True)
def no_limits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong keys are refused as such however many were tried; no answer is closed once read."""
    for limit in ("AT_ONCE", "AT_ONCE_BY_THREAD", "AT_ONCE_OF_ONE"):
        monkeypatch.setattr(sending, limit, 1_000)
    settings.JOBQUEUE = {
        "authentication_failures_per_minute": 1_000_000,
        "requests_per_minute": 1_000_000,
    }


@pytest.fixture
def some_jobs(alice: Tenant) -> None:
    """Jobs that the calls may meet."""
    for status in (Status.PENDING, Status.DLQ, Status.DONE):
        make_job(alice, status, queue=status.lower())


@pytest.fixture
def described(request: pytest.FixtureRequest) -> Any:
    """The description, which schemathesis needs seconds to read: not while tests are collected."""
    request.node._nodeid = request.node.nodeid  # where schemathesis 4.32 looks for it
    config = schemathesis.Config.from_dict({**exceptions(), **IN_PROCESS})
    loaded = schemathesis.openapi.from_dict(description(), config=config)
    loaded.app = application
    loaded.hook(map_body)
    return loaded


def test_what_is_excepted_is_there() -> None:
    named: set[str] = set()
    for one in exceptions()["operations"]:
        names = one["include-operation-id"]
        named |= {names} if isinstance(names, str) else set(names)
    methods = [method for path in description()["paths"].values() for method in path.values()]
    assert named <= {method["operationId"] for method in methods}


def test_no_check_is_turned_off_that_the_command_line_turns_on_again() -> None:
    checks = [
        check for one in exceptions()["operations"] for check in one.get("checks", {}).items()
    ]
    assert [name for name, options in checks if "enabled" in str(options)] == []


generated = schemathesis.pytest.from_fixture("described").exclude(is_endless)


@generated.parametrize()
@hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_call_finds_a_fault(case: Any, api: Caller, some_jobs: None) -> None:
    response = case.call_and_validate(headers=api.headers)
    if PROBLEM in response.headers.get("content-type", ()):
        told = response.json()
        assert FIELD_IS_MISSING.match(told["detail"]) is None
        if case.meta.generation.mode.is_positive and told["status"] not in {403, 404, 409}:
            assert told["code"] in UNSPEAKABLE, told
