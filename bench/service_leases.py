"""Workers in another process that lease and acknowledge over REST, a hundred jobs a call."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

from bench import load
from bench.figures import rate
from bench.scenario import BenchError, Figure, Sample, Settings
from bench.service import tenant_with_keys
from bench.service_server import OURS, served
from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.submission import NewJob
from tests.live_server import live_server

JOBS, WARM_UP_JOBS, A_CALL, WORKERS = 20_000, 1_000, 100, 4
JOB = NewJob(task="remote:noop", payload=b'{"n": 1}')
ANSWER_SECONDS = 30

Key = Mapping[str, str]
"""The headers of a call."""


def leases(settings: Settings) -> Iterator[Sample]:
    """All calls to one WSGI process; leases to an ASGI process; and to two WSGI processes.

    A deployment has two, and sends leases that wait to the ASGI process.
    """
    for _ in settings.each_run():
        load.wipe()
        tenant, keys = tenant_with_keys("remote", None)
        jobs = settings.jobs(JOBS)
        with served(OURS) as web, live_server() as (address, _):
            live = int(address.rsplit(":", 1)[1])
            _drained(tenant, keys[0], WARM_UP_JOBS, web, web)
            _drained(tenant, keys[0], WARM_UP_JOBS, live, web)
            found = {
                "one process": _drained(tenant, keys[0], jobs, web, web),
                "leases by ASGI": _drained(tenant, keys[0], jobs, live, web),
            }
        with served(OURS, processes=2) as web:
            _drained(tenant, keys[0], WARM_UP_JOBS, web, web)
            found["two processes"] = _drained(tenant, keys[0], jobs, web, web)
        yield {name: Figure(each) for name, each in found.items()}


def _drained(tenant: Tenant, key: Key, jobs: int, lease_at: int, ack_at: int) -> float:
    """Jobs per second of workers that lease and acknowledge until nothing is left."""
    load.submit_bulk(tenant, jobs, JOB)
    load.settle()
    began = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        runs = [pool.submit(_work, key, lease_at, ack_at) for _ in range(WORKERS)]
        done = sum(run.result() for run in runs)
    seconds = time.monotonic() - began
    if done != jobs or Job.objects.exclude(status=Status.DONE).exists():
        raise BenchError(f"Of {jobs} jobs, {done} were acknowledged, or some are not done.")
    return rate(jobs, seconds)


def _work(key: Key, lease_at: int, ack_at: int) -> int:
    """Lease and acknowledge until there is nothing; answers how many it did."""
    leasing, acknowledging = (
        HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS) for port in (lease_at, ack_at)
    )
    done = 0
    while jobs := _call(leasing, key, "leases", {"max_jobs": A_CALL})["jobs"]:
        held = [{"job_id": job["id"], "fence": job["fence"], "result": 1} for job in jobs]
        results = _call(acknowledging, key, "leases/ack", {"leases": held})["results"]
        done += sum(result["ok"] for result in results)
    leasing.close()
    acknowledging.close()
    return done


def _call(connection: HTTPConnection, key: Key, path: str, body: object) -> Any:
    headers = {**key, "Content-Type": "application/json"}
    connection.request("POST", f"/api/v1/{path}", json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise BenchError(f"{path} was answered {answer.status}: {text[:200]!r}")
    return json.loads(text)
