"""A dead letter's payload is edited as strict JSON, compared, and only then sent back."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from jobs import services
from jobs.admin.edited_redrive import compared
from jobs.models import AuditEntry, Job, Tenant
from jobs.statuses import Status
from tests.factories import make_job

PAYLOAD = b'{"to":"bob@example.org","amount":12345678901234567890.10}'


@pytest.fixture
def job(alice: Tenant) -> Job:
    """A dead letter with a number that a float cannot hold."""
    return make_job(alice, Status.DLQ, payload=PAYLOAD)


def test_the_form_has_the_payload_as_it_was_sent(operator: Client, job: Job) -> None:
    page = operator.get(_address(job))
    assert page.context["form"].initial["payload"] == (
        '{\n  "to": "bob@example.org",\n  "amount": 12345678901234567890.10\n}'
    )


def test_the_comparison_comes_before_the_redrive(operator: Client, job: Job) -> None:
    edited = operator.get(_address(job)).context["form"].initial["payload"]
    page = operator.post(_address(job), {"payload": edited.replace("bob", "eve")})
    assert "<del>-  &quot;to&quot;: &quot;bob@example.org&quot;,</del>" in page.text
    assert "<ins>+  &quot;to&quot;: &quot;eve@example.org&quot;,</ins>" in page.text
    assert _reload(job).status == Status.DLQ


def test_the_confirmed_payload_is_stored_exactly(operator: Client, job: Job) -> None:
    edited = operator.get(_address(job)).context["form"].initial["payload"]
    text = edited.replace("bob", "eve").replace("\n", "\r\n")
    answer = operator.post(_address(job), {"payload": text, "confirmed": "yes"}, follow=True)
    assert f"Sent back {job.pk} with the edited payload." in answer.text
    job = _reload(job)
    assert (job.status, bytes(job.payload)) == (Status.PENDING, PAYLOAD.replace(b"bob", b"eve"))
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target, entry.details["edited"]) == ("redrive", str(job.pk), True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "Not JSON"),
        ("", "required"),
        ('{"a": 1, "a": 2}', "repeated"),
        ("NaN", "not JSON"),
        ('"\\u0000"', "NUL"),
        ("[" * 1_000 + "]" * 1_000, "nested deeper"),
        ('"' + "x" * 1_000_000 + '"', "may have 1,000,000 bytes"),
    ],
)
def test_what_is_not_strict_json_is_refused(
    operator: Client, job: Job, text: str, problem: str
) -> None:
    page = operator.post(_address(job), {"payload": text, "confirmed": "yes"})
    assert problem in page.context["form"].errors["payload"][0]
    assert _reload(job).status == Status.DLQ


def test_the_payload_of_a_python_call_keeps_its_shape(operator: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ, payload=b'{"args":[1],"kwargs":{}}', has_args=True)
    refused = operator.post(_address(job), {"payload": '{"args": {}}', "confirmed": "yes"})
    assert "This task takes" in refused.context["form"].errors["payload"][0]
    taken = '{"args": [2], "kwargs": {}}'
    operator.post(_address(job), {"payload": taken, "confirmed": "yes"})
    assert bytes(_reload(job).payload) == b'{"args":[2],"kwargs":{}}'


def test_the_payload_must_be_one_that_the_task_can_take(operator: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ, task="sleep", payload=b'{"seconds":1}')
    page = operator.post(_address(job), {"payload": '{"second": 2}', "confirmed": "yes"})
    error = page.context["form"].errors["payload"][0]
    assert "missing 'seconds'" in error
    assert "second&quot;: 2" in page.text
    assert _reload(job).status == Status.DLQ


def test_what_a_task_unknown_here_takes_is_not_checked(operator: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ, task="elsewhere.tasks.gone", payload=b"{}")
    operator.post(_address(job), {"payload": "[1]", "confirmed": "yes"})
    assert bytes(_reload(job).payload) == b"[1]"


def test_editing_again_keeps_what_was_written(operator: Client, job: Job) -> None:
    page = operator.post(_address(job), {"payload": "[1]", "edit_again": "yes"})
    assert "[1]" in page.text
    assert "Compare" in page.text


def test_a_letter_that_is_dead_no_more_is_left_alone(operator: Client, job: Job) -> None:
    services.redrive([job.pk], actor="user:else", tenant=job.tenant)
    assert operator.get(_address(job)).status_code == 404
    assert operator.post(_address(job), {"payload": "1", "confirmed": "y"}).status_code == 404


@pytest.mark.parametrize(
    "rights",
    [["view_job", "operate_job"], ["operate_job", "view_payload"], ["view_job", "view_payload"]],
)
def test_it_takes_three_rights(staff: Callable[..., Client], job: Job, rights: list[str]) -> None:
    client = staff(*rights)
    assert client.get(_address(job)).status_code == 403
    assert client.post(_address(job), {"payload": "1", "confirmed": "y"}).status_code == 403


def test_one_change_in_a_large_payload_is_found_quickly() -> None:
    numbers = [str(number) for number in range(100_000)]
    before = f"[{','.join(numbers)}]".encode()
    changed = list(compared(before, before.replace(b",50000,", b",-1,")))
    assert [line for kind, line in changed if kind in "+-"] == ["-  50000,", "+  -1,"]
    assert len(changed) == 9


def test_too_many_changes_are_not_compared() -> None:
    before, after = (f"[{','.join([digit] * 5_000)}]".encode() for digit in "12")
    assert [kind for kind, _ in compared(before, after)] == ["@"]


def _address(job: Job) -> str:
    return f"/admin/jobs/deadletter/{job.pk}/edit/"


def _reload(job: Any) -> Job:
    return Job.objects.get(pk=job.pk)
