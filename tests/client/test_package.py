"""The client stands alone: it needs httpx, and nothing of ours."""

import inspect
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

import jobqueue_client
from jobqueue_client import AsyncClient, Client
from tests.architecture.rules import ROOT, imported_names, project_sources

FOLDER = ROOT / "jobqueue_client"


def test_it_imports_the_standard_library_httpx_and_itself() -> None:
    reached = {
        name.split(".")[0]
        for source in project_sources("jobqueue_client")
        for name, _ in imported_names(source)
    }
    assert reached - set(sys.stdlib_module_names) == {"httpx", "jobqueue_client"}


def test_its_wheel_works_where_nothing_of_ours_is(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=FOLDER, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("jobqueue_client-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "jobqueue_client/py.typed" in names
    assert {Path(name).parts[0].split("-")[0] for name in names} == {"jobqueue_client"}
    program = f"""
import sys
for absent in ("django", "jobs", "workers"): sys.modules[absent] = None
sys.path.insert(0, {str(wheel)!r})
import jobqueue_client
print(jobqueue_client.__file__, jobqueue_client.__version__)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert str(wheel) in ran.stdout
    assert wheel.name.split("-")[1] == ran.stdout.split()[-1]


def test_the_clients_are_twins() -> None:
    assert _shape(Client) == _shape(AsyncClient)


def _shape(client: type) -> dict[str, list[str]]:
    methods = inspect.getmembers(client, inspect.isfunction)
    return {
        name: [str(one) for one in inspect.signature(method).parameters.values()]
        for name, method in methods
        if not name.startswith("_")
    }


def test_everything_that_is_offered_exists() -> None:
    assert [name for name in jobqueue_client.__all__ if not hasattr(jobqueue_client, name)] == []
    assert sorted(jobqueue_client.__all__) == jobqueue_client.__all__


@pytest.mark.parametrize(
    ("url", "key", "word"),
    [
        ("", "jq_a", "JOBQUEUE_URL"),
        ("jobs.example.org", "jq_a", "http://"),
        ("http://localhost", "", "JOBQUEUE_KEY"),
        ("http://localhost", "jq_a\nX-Other: b", "characters"),
        ("http://localhost", "jq_ü", "characters"),
    ],
)
def test_a_bad_address_or_key_is_told_without_the_key(
    monkeypatch: pytest.MonkeyPatch, url: str, key: str, word: str
) -> None:
    monkeypatch.delenv("JOBQUEUE_URL", raising=False)
    monkeypatch.delenv("JOBQUEUE_KEY", raising=False)
    with pytest.raises(ValueError, match=word) as caught:
        Client(url, key)
    assert "jq_" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["http://q.invalid", "http://q.invalid/", "http://q.invalid/api/v1"]
)
def test_address_and_key_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("JOBQUEUE_URL", address)
    monkeypatch.setenv("JOBQUEUE_KEY", " jq_a\n")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"results": [], "next": None})

    with Client(transport=httpx.MockTransport(answer)) as client:
        client.queues()
    assert str(seen[0].url) == "http://q.invalid/api/v1/queues"
    assert seen[0].headers["Authorization"] == "Bearer jq_a"


def test_the_key_goes_to_no_other_host() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        leads_to = "http://evil.invalid/api/v1/jobs?cursor=c&limit=2" if len(seen) == 1 else None
        return httpx.Response(200, json={"results": [], "next": leads_to})

    with Client("http://q.invalid", "jq_a", transport=httpx.MockTransport(answer)) as client:
        assert list(client.list()) == []
    assert [str(request.url) for request in seen[1:]] == [
        "http://q.invalid/api/v1/jobs?cursor=c&limit=2"
    ]
