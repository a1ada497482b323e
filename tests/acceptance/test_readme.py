"""The commands of the README and of the guide for operators work as printed."""

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
OPERATIONS = (ROOT / "docs/operations.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")


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
    (script,) = [block for block in blocks(README) if "KEY=$(cat" in block]
    script = script.replace("var/demo-key", f"{var}/demo-key").replace(":8000", f":{port}")
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in ran.stdout.splitlines() if line and "}{" not in line]
    assert len(answers) >= 10
    assert not [answer for answer in answers if "code" in answer], "none is a problem"


def test_the_operators_commands_work_as_printed(served: tuple[Path, int]) -> None:
    var, _ = served
    script = "".join(block for block in blocks(OPERATIONS) if "manage.py" in block)
    command = ["bash", "-euo", "pipefail", "-c", script]
    ran = subprocess.run(
        command, cwd=ROOT, env=_environment(var), capture_output=True, text=True, check=True
    )
    assert re.search(r'"key": "jq_', ran.stdout)


def test_every_make_target_that_is_named_exists() -> None:
    named = set(re.findall(r"(?:^|`)(?:[A-Z_]+=\S+ )?make ([a-z]+)", README, re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_place_that_is_linked_exists(page: Path) -> None:
    links = LINK.findall(page.read_text())
    places = [(page.parent / to if to else page, part) for to, part in links]
    assert [to for to, part in places if not to.exists() or not has(to, part)] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


def blocks(page: str) -> list[str]:
    """What it prints for shells."""
    return re.findall(r"```sh\n(.*?)```", page, re.DOTALL)


def has(page: Path, part: str) -> bool:
    """Whether the page has a heading that is linked so."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE) if part else []
    names = [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings]
    return not part or part in names


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
