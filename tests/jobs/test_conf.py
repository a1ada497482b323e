"""Tunables: impossible ones are told by the system check, in words."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from jobs.checks import check_settings
from jobs.conf import Conf


def problems(**given: Any) -> list[tuple[str | None, str]]:
    """The ids and texts of what the check says."""
    with override_settings(JOBQUEUE=given):
        return [(found.id, found.msg) for found in check_settings(None)]


def test_defaults_are_possible() -> None:
    assert Conf().problems() == []


def test_the_documentation_has_every_tunable_with_its_default() -> None:
    text = (Path(settings.BASE_DIR) / "docs/settings.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{one.name}` | `{one.default!r}` | {one.metadata['meaning']} |" for one in fields(Conf)
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lease_seconds", 30),
        ("lease_seconds", 30.5),
        ("claim_batch", 1),
        ("keep_dead_days", None),
        ("keep_dead_days", 0.5),
        ("webhook_private_hosts", ["a.example"]),
        ("webhook_private_hosts", ()),
    ],
)
def test_values_of_the_declared_type_are_possible(name: str, value: object) -> None:
    assert problems(**{name: value}) == []


@pytest.mark.parametrize("value", ["30", "", None, True, 0, -1, float("nan"), float("inf"), [30]])
@pytest.mark.parametrize("name", ["lease_seconds", "heartbeat_seconds", "claim_batch"])
def test_value_that_is_no_positive_number_is_told(name: str, value: object) -> None:
    ((problem_id, text),) = problems(**{name: value})
    assert problem_id == "jobs.E002"
    assert name in text
    assert repr(value) in text


@pytest.mark.parametrize("value", ["7", 0, -1, float("nan"), False])
def test_days_that_cannot_be_are_told(value: object) -> None:
    ((_, text),) = problems(keep_finished_days=value)
    assert f"keep_finished_days must be a positive number or None, not {value!r}" in text


def test_count_must_be_whole() -> None:
    ((_, text),) = problems(claim_batch=1.5)
    assert "claim_batch must be a positive integer, not 1.5" in text


@pytest.mark.parametrize("value", ["a.example", [1], None])
def test_list_of_hosts_is_no_single_text(value: object) -> None:
    ((problem_id, text),) = problems(webhook_private_hosts=value)
    assert (problem_id, "webhook_private_hosts must be a list of texts" in text) == (
        "jobs.E002", True,
    )  # fmt: skip


def test_heartbeat_must_fit_into_a_lease() -> None:
    ((_, text),) = problems(lease_seconds=5)
    assert "a third of lease_seconds" in text


def test_unknown_key_is_told() -> None:
    ((problem_id, text),) = problems(leese_seconds=5)
    assert (problem_id, "leese_seconds" in text) == ("jobs.E001", True)
