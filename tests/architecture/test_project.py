"""The project as a whole: migrations, deployment settings, and documents that tell the truth."""

import io
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandParser, call_command, get_commands, load_command_class

from tests.architecture.rules import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MAKE = re.compile(r"^\s*make ([a-z-]+)|`make ([a-z-]+)", re.M)
MANAGE = re.compile(r"manage\.py ([a-z_]+)([^\n`|]*)")
OPTION = re.compile(r"(?<!\S)(--[a-z-]+)")
FILE = re.compile(r"`((?:jobs|workers|dashboard|demo|tests|templates|jobqueue_project)/[\w./-]*)`")


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, stdout=io.StringIO())


def test_deployment_check_is_clean() -> None:
    environment = os.environ | {"HTTPS": "1", "SECRET_KEY": secrets.token_urlsafe(64)}
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environment | {"DJANGO_SETTINGS_MODULE": "jobqueue_project.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {a or b for a, b in MAKE.findall(document.read_text())}
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document: Path) -> None:
    unknown = [
        f"{command} {option}"
        for command, rest in MANAGE.findall(document.read_text())
        for option in ["", *OPTION.findall(rest)]
        if not _is_known(command, option)
    ]
    assert unknown == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_exist(document: Path) -> None:
    named = FILE.findall(document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def _is_known(command: str, option: str) -> bool:
    app = get_commands().get(command)
    if app is None:
        return False
    loaded = load_command_class(app, command) if isinstance(app, str) else app
    parser = loaded.create_parser("manage.py", command)
    return not option or option in _options(parser)


def _options(parser: CommandParser) -> set[str]:
    """The options of a command and of its subcommands."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for subparser in action.choices.values():
                found |= _options(subparser)
    return found
