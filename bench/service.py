"""The REST API over the WSGI server of the deployment, beside bare views on the same server.

One server process each, 16 connections that are kept, and a client in a process of its own. Ours
and the bare ones take turns, so that a machine that is slow for a while is slow for both.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import mean

from bench import load
from bench.figures import percentile, rate
from bench.scenario import BenchError, Figure, Sample, Settings
from bench.service_client import Answers, Load, request
from bench.service_server import BARE, OURS, served
from jobs import services
from jobs.keys import create_api_key
from jobs.models import Job, Tenant
from jobs.submission import NewJob
from tests.harness import ROOT

CONNECTIONS, TURNS, TURN_SECONDS, WARM_UP_SECONDS = 16, 3, 1.5, 0.5
BULK = 1_000
CLIENT_LIMIT_SECONDS = 120
MOST_OF_A_CORE = 0.9
"""A client that is busier than this may be what was measured."""

Keys = Sequence[Mapping[str, str]]


def submit(settings: Settings) -> Iterator[Sample]:
    """`POST /jobs` of a tenant without limits, and of one whose submissions are counted exactly."""
    body = '{"task": "echo", "payload": {"n": 1}}'
    for _ in settings.each_run():
        load.wipe()
        free, limited = (
            tenant_with_keys(slug, per_minute) for slug, per_minute in _TENANTS.items()
        )
        job = services.submit(free[0], NewJob(task="echo", payload=b'{"n": 1}')).job_id
        with served(OURS) as ours, served(BARE, BENCH_BARE_JOB=str(job)) as bare:
            turns = {
                "bare": (bare, [request("POST", "/jobs", body='{"payload": {"n": 1}}')]),
                "POST /jobs": (ours, posts("/api/v1/jobs", free[1], body)),
                "with a limit": (ours, posts("/api/v1/jobs", limited[1], body)),
            }
            answers = _in_turns(turns, settings, "201")
        accepted = sum(len(one.waits) for found in answers.values() for one in found)
        if Job.objects.count() != 1 + accepted:
            raise BenchError(f"{accepted} jobs were accepted, {Job.objects.count() - 1} are there.")
        yield _beside_bare(answers)


_TENANTS = {"free": None, "limited": 10_000_000}
"""Submissions a minute of the tenants that submit."""


def look(settings: Settings) -> Iterator[Sample]:
    """`GET /jobs/{id}` of a job that is done with, beside a bare view of REST framework."""
    for _ in settings.each_run():
        load.wipe()
        tenant, keys = tenant_with_keys("free", None)
        job = services.submit(tenant, NewJob(task="echo", payload=b'{"n": 1}')).job_id
        with served(OURS) as ours, served(BARE, BENCH_BARE_JOB=str(job)) as bare:
            turns = {
                "bare": (bare, [request("GET", f"/jobs/{job}")]),
                "GET /jobs/{id}": (ours, gets(f"/api/v1/jobs/{job}", keys)),
            }
            yield _beside_bare(_in_turns(turns, settings, "200"))


def bulk(settings: Settings) -> Iterator[Sample]:
    """`POST /jobs/bulk` with 1,000 jobs each, over four connections."""
    item = '{"task": "echo", "payload": {"n": 1}}'
    body = f'{{"jobs": [{", ".join([item] * BULK)}]}}'
    for _ in settings.each_run():
        load.wipe()
        _, keys = tenant_with_keys("free", None)
        with served(OURS) as port:
            turns = {"bulk": (port, posts("/api/v1/jobs/bulk", keys, body))}
            (found,) = _in_turns(turns, settings, "201", connections=4).values()
        jobs = BULK * sum(len(one.waits) for one in found)
        if Job.objects.count() != jobs:
            raise BenchError(f"{jobs} jobs were accepted, {Job.objects.count()} are there.")
        yield {"POST /jobs/bulk": Figure(rate(jobs, sum(one.seconds for one in found)))}


def tenant_with_keys(slug: str, per_minute: int | None) -> tuple[Tenant, Keys]:
    """A tenant and the headers of keys, one for each connection: a key has a limit of calls."""
    tenant = load.make_tenant(slug, submissions_per_minute=per_minute)
    texts = [create_api_key(tenant, actor="command:bench")[1] for _ in range(CONNECTIONS)]
    return tenant, [{"Authorization": f"Bearer {text}"} for text in texts]


def posts(path: str, keys: Keys, body: str) -> list[str]:
    return [request("POST", path, headers=key, body=body) for key in keys]


def gets(path: str, keys: Keys) -> list[str]:
    return [request("GET", path, headers=key) for key in keys]


def _in_turns(
    turns: Mapping[str, tuple[int, list[str]]],
    settings: Settings,
    status: str,
    connections: int = CONNECTIONS,
) -> dict[str, list[Answers]]:
    """The answers to each of the loads, a port and requests, in so many turns."""
    found: dict[str, list[Answers]] = {name: [] for name in turns}
    for turn in range(TURNS + 1):
        for name, (port, requests) in turns.items():
            seconds = settings.scale * (TURN_SECONDS if turn else WARM_UP_SECONDS)
            answers = apply(
                Load(port=port, requests=requests, connections=connections, seconds=seconds), status
            )
            found[name].append(answers)
    return found


def apply(load: Load, status: str) -> Answers:
    """Apply the load from a process of its own. Raises `BenchError` for any other answer."""
    command = [sys.executable, "-m", "bench.service_client"]
    done = subprocess.run(  # noqa: S603
        command,
        cwd=ROOT,
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        timeout=load.seconds + CLIENT_LIMIT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"The client failed: {done.stderr[-500:]}")
    answers = Answers(**json.loads(done.stdout))
    if set(answers.statuses) != {status}:
        raise BenchError(
            f"Not all was answered {status}: {answers.statuses}; {answers.refusal[:500]}"
        )
    if answers.busy > MOST_OF_A_CORE:
        raise BenchError(f"The client was busy for {answers.busy:.0%} of the time.")
    return answers


def _beside_bare(answers: Mapping[str, Sequence[Answers]]) -> Sample:
    rates = {name: mean(map(_per_second, found[1:])) for name, found in answers.items()}
    waits = {name: [w for one in found[1:] for w in one.waits] for name, found in answers.items()}
    bare = rates.pop("bare")
    slowest = {name: 1_000 * percentile(each, 99) for name, each in waits.items()}
    return {name: Figure(each, bare) for name, each in rates.items()} | {
        f"{name}, p99": Figure(slowest[name], slowest["bare"]) for name in rates
    }


def _per_second(answers: Answers) -> float:
    return rate(len(answers.waits), answers.seconds)
