"""The README's commands work as printed."""

import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import ROOT, ProjectProcess, wait_until
from tests.postgres import _free_port as free_port

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """What `make run` starts: the folder of its data, and its port."""
    var, port = tmp_path_factory.mktemp("var"), free_port()
    with ProjectProcess(
        "manage.py", "serve", "--port", str(port), env=_environment(var)
    ) as process:
        wait_until(lambda: "Dashboard:" in process.output and _is_ready(port), 60, "ready")
        yield var, port


def test_the_curl_lines_work_as_printed(served: tuple[Path, int]) -> None:
    var, port = served
    (script,) = [block for block in BLOCKS if "KEY=$(cat" in block]
    script = script.replace("var/demo-key", f"{var}/demo-key").replace(":8000", f":{port}")
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in ran.stdout.splitlines() if line and "}{" not in line]
    assert len(answers) >= 10
    assert not [answer for answer in answers if "code" in answer], "none is a problem"


def test_the_operators_commands_work_as_printed(served: tuple[Path, int]) -> None:
    var, _ = served
    (script,) = [block for block in BLOCKS if "tenants create" in block]
    command = ["bash", "-euo", "pipefail", "-c", script]
    ran = subprocess.run(
        command, cwd=ROOT, env=_environment(var), capture_output=True, text=True, check=True
    )
    assert re.search(r'"key": "jq_', ran.stdout)


def test_every_make_target_that_is_named_exists() -> None:
    named = set(re.findall(r"(?:^|`)(?:[A-Z_]+=\S+ )?make ([a-z]+)", README, re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


def test_every_file_that_is_linked_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def _environment(var: Path) -> dict[str, str]:
    """A shell's, without what the tests have set."""
    ours = {"DATABASE_URL", "DJANGO_SETTINGS_MODULE"}
    return {name: value for name, value in os.environ.items() if name not in ours} | {
        "VAR_DIR": str(var)
    }


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
