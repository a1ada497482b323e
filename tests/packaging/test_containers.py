"""The container files are sound, as far as that shows without a container engine."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command

import jobqueue_project.settings
from deploy import healthcheck
from jobs.conf import conf
from tests.architecture.rules import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
DEFAULT = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")
COMPOSE = DEFAULT.sub(r"\1", (ROOT / "docker-compose.yml").read_text())
HAS_LINTERS = sys.platform == "linux"


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml, merge keys resolved, variables at their defaults."""
    return dict(yaml.safe_load(COMPOSE)["services"])


@pytest.mark.skipif(not HAS_LINTERS, reason="hadolint comes as a wheel for Linux")
def test_dockerfile_passes_hadolint() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "install requirements-dev.txt"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not HAS_LINTERS, reason="compose-spec comes as a wheel for Linux")
def test_compose_file_follows_the_specification() -> None:
    compose_spec = pytest.importorskip("compose_spec")
    resolved = yaml.safe_dump(_without_anchors(yaml.safe_load(COMPOSE)))
    compose_spec.PyCompose.from_yaml(resolved)
    with pytest.raises(ValueError, match="bogus"):
        compose_spec.PyCompose.from_yaml(resolved + "bogus: 1\n")


def test_image_runs_without_root() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.M)[-1] == "10001"


def test_image_copies_what_exists() -> None:
    local = [line for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.M) if "--from" not in line]
    for line in local:
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources)


def test_image_leaves_secrets_and_data_out() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".env", "var", ".venv*"} <= set(ignored)


@pytest.mark.django_db
def test_static_files_can_be_collected(tmp_path: Path, settings: Any) -> None:
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", interactive=False, verbosity=0)
    assert (tmp_path / "admin").is_dir()


def test_everything_waits_for_the_migrations(services: dict[str, dict[str, Any]]) -> None:
    for name in ("web", "live", "worker"):
        conditions = {on: how["condition"] for on, how in services[name]["depends_on"].items()}
        assert conditions == {"db": "service_healthy", "migrate": "service_completed_successfully"}
    assert services["db"]["healthcheck"]["test"]


def test_workers_have_time_to_drain(services: dict[str, dict[str, Any]]) -> None:
    command = services["worker"]["command"]
    drain = float(command[command.index("--drain-seconds") + 1])
    assert drain >= conf().drain_seconds
    assert float(services["worker"]["stop_grace_period"].removesuffix("s")) >= drain + 10


def test_ports_are_published_to_this_machine_alone(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_variables_are_those_of_the_settings(services: dict[str, dict[str, Any]]) -> None:
    documented = re.findall(r"^([A-Z_]+)  ", jobqueue_project.settings.__doc__ or "", re.M)
    assert set(services["web"]["environment"]) <= set(documented)


@pytest.mark.parametrize(
    ("allowed", "host"),
    [(None, "localhost"), ("*", "localhost"), (".example.com,x", "example.com"), ("a.b", "a.b")],
)
def test_health_check_names_an_allowed_host(
    allowed: str | None, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALLOWED_HOSTS", raising=False)
    if allowed is not None:
        monkeypatch.setenv("ALLOWED_HOSTS", allowed)
    assert healthcheck.host() == host


def test_health_check_fails_where_nothing_listens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(healthcheck, "URL", "http://127.0.0.1:1/health/live")
    assert healthcheck.main() == 1
    assert "refused" in capsys.readouterr().err


def _without_anchors(compose: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in compose.items() if not key.startswith("x-")}
