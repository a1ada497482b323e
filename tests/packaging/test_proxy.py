"""One address: the proxy sends what may wait to the ASGI server, all else to the WSGI server."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import crossplane
import pytest
import yaml

from dashboard.routing import websocket_urlpatterns
from jobs.api import conditional, held, long_poll
from jobs.conf import conf
from jobs.leases_requested import MAX_WAIT_SECONDS
from tests.architecture.rules import ROOT

Block = list[dict[str, Any]]
ONE_JOB = "/api/v1/jobs/01a202a5-4b06-7a72-b617-e0e2c25864bb"


@pytest.fixture(scope="module")
def http() -> Block:
    """What nginx is told about HTTP."""
    (file,) = crossplane.parse(str(ROOT / "deploy" / "nginx.conf"))["config"]
    return next(one["block"] for one in file["parsed"] if one["directive"] == "http")


@pytest.fixture(scope="module")
def server(http: Block) -> Block:
    """What it is told about the one address."""
    return next(one["block"] for one in http if one["directive"] == "server")


def values(block: Block) -> dict[str, list[str]]:
    return {one["directive"]: one["args"] for one in block if "block" not in one}


def locations(server: Block) -> Iterator[tuple[list[str], dict[str, list[str]]]]:
    for one in server:
        if one["directive"] == "location":
            yield one["args"], values(one["block"])


def upstream_of(path: str, http: Block, server: Block, headers: Mapping[str, str]) -> str:
    """Where nginx sends it: an exact location wins, otherwise the longest beginning."""
    found = {}
    for args, inside in locations(server):
        if args == ["=", path]:
            found[len(path) + 1] = inside
        elif len(args) == 1 and path.startswith(args[0]):
            found[len(args[0])] = inside
    target = found[max(found)]["proxy_pass"][0].removeprefix("http://")
    if not target.startswith("$"):
        return target
    (source, entries) = next(
        (one["args"][0], one["block"])
        for one in http
        if one["directive"] == "map" and one["args"][1] == target
    )
    given = headers.get(source.removeprefix("$http_"), "")
    chosen = {one["directive"]: one["args"][0] for one in entries}
    patterns = [key for key in chosen if key.startswith("~*")]
    hits = [chosen[key] for key in patterns if re.search(key[2:], given, re.IGNORECASE)]
    return hits[0] if hits else chosen["default"]


def test_file_is_sound() -> None:
    path = ROOT / "deploy" / "nginx.conf"
    strict = crossplane.parse(str(path), strict=True)
    in_maps = _lines_of_maps(path.read_text())
    assert [error for error in strict["errors"] if error["line"] not in in_maps] == []


def _lines_of_maps(text: str) -> set[int]:
    """Entries of maps, which look like directives that nobody knows."""
    lines, inside = set(), False
    for number, line in enumerate(text.splitlines(), 1):
        inside = line.strip().startswith("map ") or (inside and "}" not in line)
        if inside:
            lines.add(number)
    return lines


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        *((f"/{route.pattern}", {}) for route in websocket_urlpatterns),
        (long_poll.PATH, {}),
        (held.STREAM_PATH, {}),
        (ONE_JOB, {"prefer": "wait=25"}),
        (ONE_JOB, {"prefer": "respond-async, Wait=5"}),
    ],
)
def test_what_may_wait_goes_to_asgi(
    http: Block, server: Block, path: str, headers: Mapping[str, str]
) -> None:
    assert upstream_of(path, http, server, headers) == "live"


@pytest.mark.parametrize(
    "path",
    ["/", "/admin/", "/api/v1/jobs", "/api/v1/leases/ack", ONE_JOB, "/static/x"],
)
def test_all_else_goes_to_wsgi(http: Block, server: Block, path: str) -> None:
    assert upstream_of(path, http, server, {}) == "web"


def test_no_export_goes_to_asgi(http: Block, server: Block) -> None:
    assert upstream_of("/api/v1/jobs/export", http, server, {"prefer": "wait=25"}) == "web"


def test_nothing_is_cut_off_that_may_still_come(server: Block) -> None:
    seconds = int(values(server)["proxy_read_timeout"][0].removesuffix("s"))
    assert seconds > max(conditional.MAX_WAIT_SECONDS, MAX_WAIT_SECONDS) + 10
    size = int(values(server)["client_max_body_size"][0].removesuffix("m")) * 1024 * 1024
    assert conf().max_body_bytes < size < 2 * conf().max_body_bytes


def test_no_log_has_the_queries_of_requests(http: Block) -> None:
    (file,) = crossplane.parse(str(ROOT / "deploy" / "nginx.conf"))["config"]
    assert values(file["parsed"])["error_log"][-1] == "emerg"
    logged = " ".join(values(http)["log_format"])
    assert not re.search(
        r"\$(request|request_uri|args|query_string|arg_\w+|http_referer)\b", logged
    )
    for starts_daphne in ("Dockerfile", "demo/launcher.py"):
        assert '"--verbosity", "0"' in (ROOT / starts_daphne).read_text(), starts_daphne


def test_its_servers_are_services_that_it_waits_for(http: Block) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    upstreams = {one["args"][0] for one in http if one["directive"] == "upstream"}
    healthy = {"condition": "service_healthy"}
    assert services["proxy"]["depends_on"] == dict.fromkeys(sorted(upstreams), healthy)
    assert "gunicorn" in services["web"]["command"]
    assert "command" not in services["live"]
