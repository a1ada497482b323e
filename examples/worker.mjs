#!/usr/bin/env node
// A worker for tasks of your own, over REST: Node 18 or later and no packages.
//
//   JOBQUEUE_URL=http://127.0.0.1:8000 JOBQUEUE_KEY=jq_… node examples/worker.mjs
//
// It runs `remote:shout` and `remote:add`, a few at a time. Write your own functions in `handlers`.
// SIGTERM or Ctrl-C: it takes no more jobs, finishes those it has, and gives back what takes too long.
// The protocol is explained in docs/worker-protocol.md.

import { setTimeout as sleep } from "node:timers/promises";

const env = process.env;
const URL = `${env.JOBQUEUE_URL ?? "http://127.0.0.1:8000"}/api/v1/leases`;
const KEY = env.JOBQUEUE_KEY;
const NAME = env.WORKER_NAME ?? "example-js";
const QUEUES = (env.QUEUES ?? "").split(",").filter(Boolean);
const SLOTS = Number(env.SLOTS ?? 4);
const LEASE_SECONDS = Number(env.LEASE_SECONDS ?? 30);
const GRACE_SECONDS = 20;

/** Throw it in a handler where trying again would not help. */
class Unwanted extends Error {}

/** The server will not take this request, however often it is sent. */
class Refused extends Error {}

// A handler gets the payload, and a signal that is aborted when the job is to be stopped.
const handlers = {
  async "remote:shout"({ text, seconds = 0 }, signal) {
    await sleep(seconds * 1000, null, { signal });
    return text.toUpperCase();
  },
  "remote:add"(numbers) {
    if (!Array.isArray(numbers)) throw new Unwanted("the payload must be a list of numbers");
    return numbers.reduce((sum, number) => sum + number, 0);
  },
};

const held = new Map(); // what runs, by the id of the job
const stopping = new AbortController();
const finished = new AbortController();

/**
 * POST until the server answers: repeating a report changes nothing. Undefined if stopped.
 * A try may take `each` seconds, and so may the pause after it.
 */
async function call(path, body, stop, each = 60) {
  const text = JSON.stringify(body); // throws for what is no JSON
  const headers = { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" };
  for (let seconds = Math.min(0.5, each); !stop.aborted; seconds = Math.min(2 * seconds, 30, each)) {
    try {
      const signal = AbortSignal.timeout(Math.ceil(each * 1000));
      const response = await fetch(URL + path, { method: "POST", headers, body: text, signal });
      if (response.ok) return await response.json();
      const problem = await response.text();
      if (response.status !== 429 && response.status < 500) throw new Refused(problem);
      seconds = Math.max(seconds, Number(response.headers.get("Retry-After") ?? 0));
    } catch (error) {
      if (error instanceof Refused) throw error; // anything else: the server cannot be reached
    }
    await sleep(seconds * 1000, null, { signal: stop }).catch(() => {});
  }
}

/** Say it under the fence of the lease. If that is lost, somebody else has the job. */
async function report(job, path, outcome) {
  if (job.isLost) return undefined;
  const answer = await call(path, { leases: [{ ...job.lease, ...outcome }] }, finished.signal);
  return answer?.results[0];
}

/** Run one job and report what became of it. */
async function work(job, leased) {
  try {
    const result = await handlers[leased.task](leased.payload, job.controller.signal);
    if (job.controller.signal.aborted) await report(job, "/release", {});
    else await succeed(job, result ?? null);
  } catch (error) {
    if (job.controller.signal.aborted) await report(job, "/release", {});
    else await fail(job, error);
  } finally {
    held.delete(leased.id);
  }
}

/** Report a result; one that cannot be kept is a failure that would only come again. */
async function succeed(job, result) {
  try {
    const told = await report(job, "/ack", { result });
    if (told?.code === "too_large") throw new Refused(told.detail);
  } catch (error) {
    await fail(job, new Unwanted(error.message));
  }
}

/** Report a failure: the queue tries again, unless that would not help. */
async function fail(job, error) {
  const described = {
    type: error?.constructor?.name ?? "Error",
    message: storable(String(error?.message ?? error).slice(0, 2_000)),
    traceback: storable(String(error?.stack ?? "").slice(-16_000)),
  };
  await report(job, "/fail", { error: described, retryable: !(error instanceof Unwanted) });
}

/** The text without what no database keeps: NUL, and half a surrogate pair that a cut has left. */
function storable(text) {
  return Buffer.from(text).toString().replaceAll("\0", "\ufffd");
}

/** Three times in a lease: say that we are alive, hear what was cancelled or lost. */
async function keepLeases() {
  while (!finished.signal.aborted) {
    await sleep((LEASE_SECONDS / 3) * 1000, null, { signal: finished.signal }).catch(() => {});
    const jobs = [...held.values()];
    if (!jobs.length) continue;
    const leases = jobs.map((job) => job.lease);
    const body = { leases, lease_seconds: LEASE_SECONDS };
    const answer = await call("/heartbeat", body, finished.signal, LEASE_SECONDS / 3);
    answer?.results.forEach((told, index) => {
      jobs[index].isLost = !told.ok;
      if (!told.ok || told.cancel_requested) jobs[index].controller.abort();
    });
  }
}

/** Ask for jobs; the server answers when there are some, or after a while. */
async function lease(slots) {
  const wish = {
    worker: NAME,
    queues: QUEUES,
    tasks: Object.keys(handlers),
    max_jobs: slots,
    lease_seconds: LEASE_SECONDS,
    wait_seconds: 10,
  };
  const answer = await call("", wish, stopping.signal);
  const pause = answer?.jobs.length ? 0 : (answer?.poll_after_seconds ?? 0);
  await sleep(pause * 1000, null, { signal: stopping.signal }).catch(() => {});
  return answer?.jobs ?? [];
}

/** Start what the server gives, if there is room. */
async function takeJobs() {
  const slots = SLOTS - held.size;
  if (!slots) {
    await sleep(20);
    return;
  }
  for (const leased of await lease(slots)) {
    const job = {
      lease: { job_id: leased.id, fence: leased.fence },
      controller: new AbortController(),
      isLost: false,
    };
    held.set(leased.id, job);
    work(job, leased).catch((error) => console.error(`${leased.id}: ${error.message}`));
  }
}

/** Let running jobs end; give back those that do not, with their attempts unspent. */
async function drain() {
  const until = Date.now() + GRACE_SECONDS * 1000;
  while (held.size && Date.now() < until) await sleep(50);
  const leases = [...held.values()].map((job) => job.lease);
  if (leases.length) await call("/release", { leases }, finished.signal);
}

async function main() {
  for (const name of ["SIGTERM", "SIGINT"]) process.on(name, () => stopping.abort());
  const heartbeat = keepLeases();
  heartbeat.catch(() => stopping.abort()); // told at the end
  try {
    while (!stopping.signal.aborted) await takeJobs();
  } finally {
    await drain();
    finished.abort();
  }
  await heartbeat;
}

try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(`The server refuses what this worker asks for: ${error.message}`);
  process.exit(1);
}
