"""What docs/client.md shows works as printed."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import jobqueue_client
from jobs.models import Job, Tenant
from tests.architecture.rules import ROOT
from tests.harness import running_workers

DOCUMENT = (ROOT / "docs" / "client.md").read_text()
PATIENCE = 120


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL))


@pytest.fixture
def environment(server: str, alice: Tenant, key_of: Callable[..., str]) -> dict[str, str]:
    """A shell's, with the queue and a key in it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "JOBQUEUE_URL": server, "JOBQUEUE_KEY": key_of(alice)}


def run(*command: str, environment: dict[str, str]) -> str:
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert environment["JOBQUEUE_KEY"] not in ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.django_db(transaction=True)
def test_the_python_examples_work_and_can_be_run_again(environment: dict[str, str]) -> None:
    assert blocks("python").count("worker.run()") == 1
    program = blocks("python").replace("worker.run()", "worker.run(drain=True)")
    with running_workers():
        run(sys.executable, "-W", "error", "-c", program, environment=environment)
        said = run(sys.executable, "-W", "error", "-c", program, environment=environment)
    for expected in ("5050\n", "[55, 210]\n", "status_conflict A job", "{'width': 640}\n"):
        assert expected in said
    assert Job.objects.filter(idempotency_key="receipt-17").count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_shells_examples_work(environment: dict[str, str]) -> None:
    with running_workers():
        said = run("bash", "-euo", "pipefail", "-c", blocks("sh"), environment=environment)
    assert said.startswith("5050\n")
    assert bytes(Job.objects.get(task="remote:words").result or b"") == b"3"


def test_the_errors_that_it_names_exist() -> None:
    table = DOCUMENT[DOCUMENT.index("| error | when |") : DOCUMENT.index("## What is sent again")]
    named = set(re.findall(r"`([A-Z]\w+)`", table))
    assert named <= set(jobqueue_client.__all__)
