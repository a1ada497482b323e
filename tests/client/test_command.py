"""`python -m jobqueue_client`, as a shell sees it."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command

from jobqueue_client.__main__ import main
from jobs.models import Job, Tenant
from jobs.services import change_limits
from jobs.statuses import Status
from tests.architecture.rules import ROOT
from tests.factories import make_job

pytestmark = pytest.mark.django_db


class Shell:
    """Runs the command with a key of Alice, and keeps what it printed."""

    def __init__(self, key: str, transport: httpx.BaseTransport, capsys: Any) -> None:
        self.place = ("--url", "http://testserver", "--key", key, "--give-up-after", "0.1")
        self.transport, self.capsys, self.errors = transport, capsys, ""

    def code(self, *arguments: str) -> int:
        code = main([*arguments, *self.place], transport=self.transport)
        self.out, self.errors = self.capsys.readouterr()
        return code

    def run(self, *arguments: str) -> str:
        assert self.code(*arguments) == 0, self.errors
        return str(self.out).strip()

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def shell(
    alice: Tenant,
    key_of: Callable[..., str],
    application_transport: httpx.BaseTransport,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    return Shell(key_of(alice), application_transport, capsys)


def test_submit_prints_the_id_and_takes_every_option(shell: Shell) -> None:
    assert Job.objects.get(pk=shell.run("submit")).task == "echo"
    job = shell.json(
        *("submit", "sleep", "--payload", '{"seconds" : 1.10}', "--queue", "q"),
        *("--priority", "-7", "--delay", "60", "--max-retries", "0", "--timeout", "9"),
        *("--tag", "a", "--tag", "b", "--worker-tag", "linux", "--idempotency-key", "k"),
    )
    assert (job["task"], job["queue"], job["priority"]) == ("sleep", "q", -7)
    assert (job["status"], job["max_retries"], job["timeout_seconds"]) == ("SCHEDULED", 0, 9)
    assert (job["tags"], job["worker_tags"], job["idempotency_key"]) == (["a", "b"], ["linux"], "k")
    assert bytes(Job.objects.get(pk=job["id"]).payload) == b'{"seconds" : 1.10}'


def test_a_payload_is_read_from_standard_input(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"[1, 2]")))
    assert shell.json("submit", "--payload", "-", "--priority", "high")["payload"] == [1, 2]
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"\xff")))
    assert shell.code("submit", "--payload", "-") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--payload", "{"), "not JSON"),
        (("nope",), "There is no task 'nope'"),
        (("--queue", "a b"), "queue must be"),
        (("--run-at", "tomorrow"), "run_at must be a time"),
        (("--payload", "[" * 100_000), "not JSON"),
    ],
)
def test_a_bad_submission_is_refused_in_words(
    shell: Shell, arguments: tuple[str, ...], text: str
) -> None:
    assert shell.code("submit", *arguments) == 1
    assert shell.errors.startswith("error: ")
    assert text in shell.errors


@pytest.mark.parametrize(
    "arguments", [("--payload", '"\udcff"'), ("--tag", "a", "--tag", "\udcff")]
)
def test_an_argument_that_is_no_text_is_a_wrong_use(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    assert shell.code("submit", *arguments) == 2
    assert "UTF-8" in shell.errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "--delay", "nan"),
        ("submit", "--timeout", "inf"),
        ("work", "--task", "remote:x=true", "--lease", "nan"),
    ],
)
def test_a_time_that_has_no_end_is_a_wrong_use(
    shell: Shell, arguments: tuple[str, ...], capsys: Any
) -> None:
    with pytest.raises(SystemExit) as ended:
        shell.code(*arguments)
    assert ended.value.code == 2
    assert "is no number of seconds" in capsys.readouterr().err


def test_a_limit_says_when_to_try_again(shell: Shell, alice: Tenant) -> None:
    change_limits(alice, actor="command:test", submissions_per_minute=1)
    shell.run("submit")
    assert shell.code("submit") == 5
    assert "Try again in" in shell.errors


def test_more_than_may_ever_be_is_refused_and_no_wrong_status(
    shell: Shell, alice: Tenant, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.JOBQUEUE = {"max_queues_per_tenant": 1}
    shell.run("submit", "--queue", "first")
    assert shell.code("submit", "--queue", "second") == 1
    assert "too_many_queues" in shell.errors
    with pytest.raises(CommandError) as refused:
        call_command("jobs", "submit", "--queue", "second", "--tenant", alice.slug)
    assert refused.value.returncode == 1


def test_waiting_ends_with_its_time(shell: Shell) -> None:
    assert shell.code("submit", "--delay", "60", "--wait", "0.1") == 7
    assert "is still SCHEDULED" in shell.errors


def test_list_and_show_say_what_the_operators_command_says(shell: Shell, alice: Tenant) -> None:
    job = make_job(alice, Status.DONE, queue="q", tags=("t",))
    make_job(alice)
    for arguments in (
        ("list",),
        ("list", "--json"),
        ("list", "--status", "DONE", "--queue", "q", "--tag", "t"),
        ("list", "--task", "other"),
        ("list", "--filter", "tag:t"),
        ("list", "--limit", "1"),
        ("show", str(job.pk)),
        ("why", str(job.pk), "--json"),
        ("redrive", "--queue", "q"),
    ):
        assert _as_read(shell.run(*arguments)) == _as_read(said_by_operator(shell, *arguments))


def test_lists_take_the_grammar_of_filters(shell: Shell, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ, tags=("t",), error_type="KeyError")
    make_job(alice)
    assert [found["id"] for found in shell.json("list", "--filter", "tag:t")] == [str(job.pk)]
    assert shell.json("dlq", "--filter=-error:KeyError") == []
    assert shell.code("list", "--filter", "nonsense:x") == 1
    assert shell.run("redrive", "--filter", "error:KeyError") == "Sent 1 dead letters back."


def said_by_operator(shell: Shell, *arguments: str) -> str:
    call_command("jobs", *arguments)
    return str(shell.capsys.readouterr().out).strip()


def _as_read(text: str) -> Any:
    """Of JSON the value: how it is spaced is no part of what is said."""
    return json.loads(text) if text.startswith(("[", "{")) else text


def test_cancel_and_retry_several(shell: Shell, alice: Tenant) -> None:
    ids = [str(make_job(alice).pk) for _ in range(2)]
    assert [line.split()[1] for line in shell.run("cancel", *ids).splitlines()] == ["CANCELLED"] * 2
    assert shell.code("retry", *ids) == 4
    assert "CANCELLED" in shell.errors


@pytest.mark.parametrize("verb", ["show", "why", "cancel", "retry"])
@pytest.mark.parametrize("job_id", ["nope", str(uuid.uuid4())])
def test_an_absent_job_is_not_found(shell: Shell, verb: str, job_id: str) -> None:
    assert shell.code(verb, job_id) == 3


def test_dead_letters_are_counted_and_sent_back(shell: Shell, alice: Tenant) -> None:
    assert shell.run("dlq") == "No dead letters."
    dead = [
        make_job(alice, Status.DLQ, error_type=error_type)
        for error_type in ("KeyError", "KeyError", "OSError", "ValueError")
    ]
    kinds = shell.json("dlq")
    assert [(kind["error_type"], kind["count"]) for kind in kinds] == [
        ("KeyError", 2),
        ("OSError", 1),
        ("ValueError", 1),
    ]
    assert shell.json("redrive", str(dead[2].pk))["ids"] == [str(dead[2].pk)]
    assert shell.run("redrive", "--error-type", "KeyError") == "Sent 2 dead letters back."
    assert shell.code("redrive") == 1
    assert shell.json("redrive", "--all")["count"] == 1


def test_a_queue_is_paused_with_a_reason_and_resumed(shell: Shell, alice: Tenant) -> None:
    make_job(alice, queue="q")
    told = shell.run("pause", "q", "--reason", "the mail server is down")
    assert told == "q is paused: the mail server is down"
    again = ("pause", "q", "--reason", "maintenance")
    assert shell.run(*again) == said_by_operator(shell, *again) == "q is paused: maintenance"
    assert shell.json("resume", "q")["pause_reason"] is None
    assert said_by_operator(shell, "resume", "q") == "q is active"
    assert shell.code("pause", "other") == 3
    assert shell.code("pause", "q", "--reason", "two\nlines") == 1


def test_the_wrong_key_is_told_and_not_shown(
    application_transport: httpx.BaseTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--url", "http://testserver", "--key", "jq_a-secret")
    assert main([*place, "list"], transport=application_transport) == 1
    said = capsys.readouterr()
    assert "JOBQUEUE_KEY" in said.err
    assert "secret" not in said.err + said.out


def test_nobody_answers() -> None:
    command = ("-m", "jobqueue_client", "list", "--give-up-after", "0.2")
    ran = subprocess.run(
        [sys.executable, *command, "--url", "http://127.0.0.1:9", "--key", "jq_a"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (6, "")
    assert "JOBQUEUE_URL" in ran.stderr
    assert "Traceback" not in ran.stderr
