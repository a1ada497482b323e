"""What tasks log in worker processes, whatever they run in."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from jobs.models import Job, LogLine
from tests.harness import running_workers, wait_until
from tests.workers.conftest import Submit, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def said(job_id: UUID) -> list[str]:
    return list(
        LogLine.objects.filter(job_id=job_id).order_by("number").values_list("message", flat=True)
    )


def test_what_tasks_log_is_kept_and_seen_while_they_run(submit: Submit, tmp_path: Path) -> None:
    kinds = ("say", "say_async", "say_killably")
    jobs = {x: submit(x, json.dumps({"path": str(tmp_path / x)}).encode()) for x in kinds}
    first = {job.pk: [f"{kind} begins"] for kind, job in jobs.items()}
    both = {job.pk: [f"{kind} begins", f"{kind} ends"] for kind, job in jobs.items()}
    with running_workers():
        wait_until(lambda: {pk: said(pk) for pk in first} == first, 60, "all of them are heard")
        assert set(Job.objects.values_list("status", flat=True)) == {"RUNNING"}
        for kind, job in jobs.items():
            (tmp_path / kind).touch()
            wait_for(job, "DONE", timeout=60)
            assert said(job.pk) == both[job.pk]
    assert set(LogLine.objects.values_list("level", "logger", "attempt")) == {
        (20, "tests.said", 1),
        (30, "tests.said", 1),
    }


def test_each_attempt_has_its_own_lines_and_the_engines_are_not_among_them(submit: Submit) -> None:
    job = submit("say_and_fail", max_retries=1)
    with running_workers(promote_interval_seconds=0.05):
        wait_for(job, "DLQ", timeout=60)
    lines = LogLine.objects.filter(job=job).order_by("fence", "number")
    assert list(lines.values_list("attempt", "number", "message")) == [
        (1, 1, "about to fail"),
        (2, 1, "about to fail"),
    ]
