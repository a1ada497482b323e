"""`manage.py jobs`, as a shell sees it."""

import json
import sys
import uuid
from collections.abc import Iterator
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from jobs import job_search, retention
from jobs.models import AuditEntry, Job, Tenant
from jobs.services import change_limits, set_task_limit
from jobs.statuses import Status
from tests.architecture.rules import ROOT
from tests.factories import make_job
from tests.store.steps import age, job_in

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("jobs", *arguments, stdout=out)
    return out.getvalue().strip()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def refusal(*arguments: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return caught.value


def test_submit_prints_the_id(alice: Tenant) -> None:
    job = Job.objects.get(pk=run("submit"))
    assert (job.tenant_id, job.task, bytes(job.payload)) == (alice.pk, "echo", b"null")


def test_submit_takes_every_option(alice: Tenant, mallory: Tenant) -> None:
    job = run_json(
        *("submit", "sleep", "--tenant", "mallory", "--payload", '{"seconds" : 1.0}'),
        *("--queue", "q", "--priority", "-7", "--delay", "60", "--max-retries", "0"),
        *("--timeout", "9", "--tag", "a", "--tag", "b", "--idempotency-key", "k"),
        *("--worker-tag", "linux", "--worker-tag", "gpu"),
    )
    assert (job["task"], job["payload"], job["queue"]) == ("sleep", {"seconds": 1.0}, "q")
    assert (job["priority"], job["status"], job["max_retries"]) == (-7, "SCHEDULED", 0)
    assert (job["timeout_seconds"], job["tags"], job["idempotency_key"]) == (9, ["a", "b"], "k")
    assert job["worker_tags"] == ["gpu", "linux"]
    assert bytes(Job.objects.get().payload) == b'{"seconds" : 1.0}'
    assert Job.objects.get().tenant_id == mallory.pk


def test_a_payload_is_read_from_standard_input(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"[1, 2]")))
    assert run_json("submit", "--payload", "-", "--priority", "high")["payload"] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--payload", "{"), "Not JSON"),
        (("--payload", "NaN"), "NaN is not JSON"),
        (("nope",), "There is no task 'nope'"),
        (("sleep",), "missing 'seconds'"),
        (("--priority", "urgent"), "priority must be an integer or one of"),
        (("--queue", "a b"), "queue must be"),
        (("--run-at", "tomorrow"), "run_at must be a time"),
    ],
)
def test_submit_is_as_strict_as_rest(alice: Tenant, arguments: tuple[str, ...], text: str) -> None:
    error = refusal("submit", *arguments)
    assert text in str(error)
    assert error.returncode == 1


def test_submit_asks_whose_job_it_is(alice: Tenant, mallory: Tenant) -> None:
    assert "--tenant" in str(refusal("submit"))
    assert refusal("submit", "--tenant", "nobody").returncode == 3


def test_a_limit_has_its_own_exit_code(alice: Tenant) -> None:
    change_limits(alice, actor="command:test", submissions_per_minute=1)
    run("submit")
    assert refusal("submit").returncode == 5


def test_list_is_newest_first_and_filters(alice: Tenant, mallory: Tenant) -> None:
    done = make_job(alice, Status.DONE, queue="q", tags=("t",))
    make_job(mallory, Status.PENDING)
    assert [line.split()[1] for line in run("list").splitlines()] == ["PENDING", "DONE"]
    for narrowed in (("--tenant", "alice"), ("--status", "DONE"), ("--queue", "q"), ("--tag", "t")):
        assert [job["id"] for job in run_json("list", *narrowed)] == [str(done.pk)]
    assert [job["id"] for job in run_json("list", "--filter", "tag:t -queue:x")] == [str(done.pk)]
    assert str(refusal("list", "--filter", "tga:t")).endswith("did you mean tag?")
    assert run("list", "--task", "other") == "No jobs."
    assert len(run_json("list", "--limit", "1")) == 1
    assert str(refusal("list", "--status", "done")).startswith("status is one of")


def test_list_looks_at_a_few_jobs_at_a_time(alice: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_search, "LOOKED_AT", 2)
    rare = [make_job(alice, Status.DONE, queue="abbbbabbba"[n]) for n in range(10)]
    wanted = [str(job.pk) for job in rare[::-1] if job.queue == "a"]
    with CaptureQueriesContext(connection) as read:
        found = run_json("list", "--queue", "a", "--limit", "9")
    assert [job["id"] for job in found] == wanted
    looked = [q["sql"] for q in read.captured_queries if '"queue" IN' in q["sql"]]
    assert len(looked) > 2
    assert [job["id"] for job in run_json("list", "--queue", "a", "--limit", "2")] == wanted[:2]
    assert run("list", "--limit", "0") == "No jobs."


@pytest.mark.parametrize("limit", ["-5", "1.5", "", "9" * 20, "many"])
def test_list_refuses_what_is_no_number_of_jobs(db: None, limit: str) -> None:
    assert "is no number of jobs" in str(refusal("list", f"--limit={limit}"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "--payload", '"\udcff"'),
        ("submit", "--tenant", "\udcff"),
        ("list", "--tenant", "\udcff"),
        ("pause", "\udcff"),
        ("pause", "mail", "--reason", "half \udcff"),
        ("cancel", "\udcff"),
    ],
)
def test_an_argument_that_is_no_text_is_a_wrong_use(
    alice: Tenant, arguments: tuple[str, ...]
) -> None:
    error = refusal(*arguments)
    assert "UTF-8" in str(error)
    assert error.returncode == 2


def test_show_tells_everything(alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ, error_type="KeyError")
    shown = json.loads(run("show", str(job.pk)))
    assert shown["error"]["type"] == "KeyError"
    assert [attempt["number"] for attempt in shown["attempts"]] == [1]


def test_why_answers(alice: Tenant) -> None:
    job = make_job(alice)
    assert "No live worker" in run("why", str(job.pk))
    assert run_json("why", str(job.pk))["gates"][0]["code"] == "no_worker"
    set_task_limit(None, "echo", actor="command:test", max_running=0)
    assert "of all tenants together runs 0 of 0 jobs" in run("why", str(job.pk))
    gate = run_json("why", str(job.pk))["gates"][0]
    assert (gate["code"], gate["used"], gate["limit"]) == ("shared_task_limit", 0, 0)


def test_cancel_and_retry_several(alice: Tenant) -> None:
    ids = [str(make_job(alice).pk) for _ in range(2)]
    assert len(run("cancel", *ids).splitlines()) == 2
    assert set(Job.objects.values_list("status", flat=True)) == {"CANCELLED"}
    error = refusal("retry", *ids)
    assert (error.returncode, "CANCELLED" in str(error)) == (4, True)
    assert AuditEntry.objects.filter(actor="command:jobs", action="cancel").count() == 2


@pytest.mark.parametrize("verb", ["show", "why", "cancel", "retry", "redrive"])
@pytest.mark.parametrize("job_id", ["nope", str(uuid.uuid4())])
def test_an_absent_job_is_not_found(db: None, verb: str, job_id: str) -> None:
    assert refusal(verb, job_id).returncode == 3


def test_dead_letters_are_counted_by_kind(alice: Tenant, mallory: Tenant) -> None:
    assert run("dlq") == "No dead letters."
    for error_type in ("KeyError", "KeyError", "OSError"):
        make_job(alice, Status.DLQ, error_type=error_type)
    make_job(mallory, Status.DLQ)
    kinds = run_json("dlq", "--tenant", "alice")
    assert [(kind["error_type"], kind["count"]) for kind in kinds] == [
        ("KeyError", 2),
        ("OSError", 1),
    ]
    assert kinds[0]["tenant"] == "alice"
    assert len(run("dlq").splitlines()) == 3


def test_redrive_by_id_by_filter_and_all(alice: Tenant, mallory: Tenant) -> None:
    jobs = [make_job(alice, Status.DLQ, queue=f"q{n}") for n in range(4)]
    make_job(mallory, Status.DLQ)
    assert run_json("redrive", str(jobs[0].pk))["ids"] == [str(jobs[0].pk)]
    assert run_json("redrive", "--queue", "q1")["count"] == 1
    assert run("redrive", "--tenant", "mallory") == "Sent 1 dead letter back."
    assert run("redrive", "--all") == "Sent 2 dead letters back."


def test_each_tenants_log_has_what_was_redriven_and_by_which_filter(
    alice: Tenant, mallory: Tenant
) -> None:
    mine = [make_job(alice, Status.DLQ, queue=f"q{n}") for n in range(3)]
    hers = make_job(mallory, Status.DLQ, queue="q0")
    run("redrive", str(mine[2].pk))
    run("redrive", "--queue", "q0", "--filter", "attempt:1")
    run("redrive", "--all")
    entries = AuditEntry.objects.filter(action="redrive").order_by("pk")
    told = [(one.tenant, one.details["jobs"], one.details.get("filter")) for one in entries]
    assert told[0] == (alice, [str(mine[2].pk)], None)
    assert sorted(told[1:3], key=lambda one: one[0].slug) == [
        (alice, [str(mine[0].pk)], 'attempt:1 queue:"q0"'),
        (mallory, [str(hers.pk)], 'attempt:1 queue:"q0"'),
    ]
    assert told[3:] == [(alice, [str(mine[1].pk)], "")]


def test_a_redrive_of_nothing_in_particular_is_a_wrong_use(db: None) -> None:
    refused = refusal("redrive")
    assert (refused.returncode, "--all" in str(refused)) == (2, True)


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command("jobs", "submit", "--help")
    assert ended.value.code == 0
    assert "exit codes: 0 done" in " ".join(capsys.readouterr().out.split())


def test_commands_do_not_go_through_the_rest_layer() -> None:
    sources = (ROOT / "jobs" / "management").rglob("*.py")
    assert [path.name for path in sources if "jobs.api" in path.read_text()] == []


def old_jobs(tenant: Tenant, *statuses: Status, days: float = 8) -> None:
    age([job_in(status, tenant) for status in statuses], days=days)


def test_purge_deletes_what_the_settings_and_the_tenant_say(alice: Tenant, mallory: Tenant) -> None:
    change_limits(mallory, actor="command:test", keep_finished_days=30)
    for tenant in (alice, mallory):
        old_jobs(tenant, Status.DONE, Status.CANCELLED, Status.DLQ)
    assert run_json("purge", "--dry-run") == {"count": 2, "tenants": {"alice": 2}}
    assert Job.objects.count() == 6
    assert run_json("purge") == {"count": 2, "tenants": {"alice": 2}}
    assert run("purge") == "0  jobs deleted"
    assert Job.objects.filter(tenant=mallory).count() == 3
    entry = AuditEntry.objects.get(action="purge")
    assert (entry.tenant, entry.target) == (alice, "2 jobs")
    assert entry.details == {"count": 2, "finished": 7 * 86_400, "dead": None}


def test_purge_of_what_is_older_than_asked_for(alice: Tenant, mallory: Tenant) -> None:
    for tenant in (alice, mallory):
        old_jobs(tenant, Status.DONE, Status.DLQ, days=2)
        old_jobs(tenant, Status.DONE, Status.DLQ, days=4)
        make_job(tenant, Status.DONE)
    shown = run("purge", "--tenant", "alice", "--older-than", "3", "--dead-older-than", "1.5")
    assert shown.split() == ["3", "alice", "3", "jobs", "deleted"]
    assert run_json("purge", "--older-than", "1", "--dry-run")["tenants"] == {
        "alice": 1, "mallory": 2,
    }  # fmt: skip
    assert Job.objects.filter(tenant=mallory).count() == 5


def test_what_was_purged_before_somebody_broke_it_off_is_written_down(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_jobs(alice, Status.DONE, Status.DONE)
    one_by_one = retention.purge

    def broken_off(*arguments: Any) -> Iterator[int]:
        yield next(one_by_one(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(retention, "purge", broken_off)
    with override_settings(JOBQUEUE={"purge_batch": 1}), pytest.raises(KeyboardInterrupt):
        run("purge")
    assert AuditEntry.objects.get(action="purge").details["count"] == 1
    assert Job.objects.count() == 1


def test_purge_shows_its_progress_to_people(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    old_jobs(alice, Status.DONE)
    run("purge")
    assert "1 of 1" in capfd.readouterr().err


@pytest.mark.parametrize("days", ["-1", "nan", "inf", "a week", "", "9" * 400])
def test_purge_refuses_what_is_no_number_of_days(days: str) -> None:
    assert "is no number of days" in str(refusal("purge", f"--older-than={days}"))


def test_purge_of_an_unknown_tenant_is_refused(db: None) -> None:
    assert refusal("purge", "--tenant", "nobody").returncode == 3


def test_a_queue_is_paused_with_a_reason_and_resumed(alice: Tenant, mallory: Tenant) -> None:
    make_job(alice, queue="q")
    said = run("pause", "q", "--tenant", "alice", "--reason", "the mail server is down")
    assert said == "q is paused: the mail server is down"
    entry = AuditEntry.objects.get(action="pause")
    assert (entry.actor, entry.tenant_id) == ("command:jobs", alice.pk)
    assert run_json("pause", "q", "--tenant", "alice")["pause_reason"] == "the mail server is down"
    assert run_json("resume", "q", "--tenant", "alice")["paused"] is False
    assert refusal("pause", "q", "--tenant", "mallory").returncode == 3
    assert refusal("pause", "q", "--tenant", "alice", "--reason", "a\nb").returncode == 1
    assert "--tenant SLUG" in str(refusal("pause", "q"))
