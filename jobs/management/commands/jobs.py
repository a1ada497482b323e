"""`manage.py jobs`: submit jobs, look, cancel, retry, redrive, purge, and pause queues."""

import math
import re
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet

from jobs import retention, services
from jobs.access import get_job, jobs_of_tenant
from jobs.audit import audit
from jobs.conf import conf
from jobs.exact_json import loads
from jobs.fields import read_fields
from jobs.filters import Filter, spelled
from jobs.instants import example, instant
from jobs.job_filters import DEAD_LETTER_FILTERS, JOB_FILTERS, all_of, filtered, read_parameter
from jobs.job_json import attempt_as_json, explanation_as_json, job_as_json
from jobs.job_logs import Place, level_name, line_as_json, log_of, place_of
from jobs.job_request import DEFAULT_TASK, read_job
from jobs.job_search import Search, settled
from jobs.lane_json import PAUSE_FIELDS, lane_named
from jobs.lookup import in_status
from jobs.management.terminal import USAGE, DomainCommand
from jobs.models import Job, LogLine, Tenant
from jobs.statuses import TERMINAL, Status
from jobs.store import Ages
from jobs.why import explain

REDRIVE_BATCH = 1_000
PAGE = 50
FOLLOW_SECONDS = 1
FILTERS = {**JOB_FILTERS, **DEAD_LETTER_FILTERS}
KIND = ("tenant__slug", "queue", "task", "error_type")
OPTIONAL_FIELDS = (
    "queue",
    "priority",
    "run_at",
    "delay_seconds",
    "max_retries",
    "timeout_seconds",
    "idempotency_key",
    "tags",
    "worker_tags",
)


class Command(DomainCommand):
    """Parses and prints; the services do the work. An operator sees the jobs of every tenant."""

    help = "Submit jobs, look at them, cancel, retry, redrive and purge them, pause their queues."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Twelve verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        _add_submission(self.add_verb(verbs, "submit", "Submit a job."))
        every = self.add_verb(verbs, "list", "List jobs, newest first.")
        _add_filters(every, "tenant", "filter", "status", "queue", "task", "tag")
        every.add_argument("--limit", type=_count, default=50, help="default: %(default)s")
        for verb, text in (
            ("show", "Show jobs with their failed attempts."),
            ("why", "Say why jobs do not run now."),
            ("cancel", "Cancel jobs; running ones stop at their worker's next heartbeat."),
            ("retry", "Run failed or dead jobs now."),
        ):
            self.add_verb(verbs, verb, text).add_argument("ids", metavar="ID", nargs="+")
        _add_log_options(self.add_verb(verbs, "logs", "Print what a job has logged."))
        dead = self.add_verb(verbs, "dlq", "Count dead letters by tenant, queue, task and error.")
        _add_filters(dead, "tenant", "filter", "queue", "task", "error_type")
        redrive = self.add_verb(verbs, "redrive", "Send dead letters back.")
        redrive.add_argument("ids", metavar="ID", nargs="*")
        _add_filters(redrive, "tenant", "filter", "queue", "task", "error_type")
        redrive.add_argument("--all", action="store_true", help="every dead letter there is")
        stopped = self.add_verb(
            verbs, "pause", "Start no more jobs of a queue; running ones go on."
        )
        _add_queue(stopped)
        stopped.add_argument(
            "--reason", metavar="TEXT", help="everybody who sees the queue reads it"
        )
        _add_queue(self.add_verb(verbs, "resume", "Start jobs of a queue again."))
        _add_ages(self.add_verb(verbs, "purge", "Delete jobs that ended long ago, as workers do."))

    def submit(self, options: dict[str, Any]) -> None:
        """Submit one job, by the rules of the REST API."""
        tenant = self._owner(options["tenant"])
        wanted = read_job(_body(options), tenant)
        submitted = services.submit_by_hand(tenant, wanted, actor=self.actor)
        job = Job.objects.get(pk=submitted.job_id)
        self.answer(job_as_json(job), str(job.pk))

    def list(self, options: dict[str, Any]) -> None:
        """The newest jobs that match."""
        jobs = list(islice(_found(Search(*self._asked(options))), options["limit"]))
        lines = [_line(job) for job in jobs]
        self.answer([job_as_json(job) for job in jobs], "\n".join(lines) or "No jobs.")

    def show(self, options: dict[str, Any]) -> None:
        """Everything about the jobs, in JSON for people too."""
        self.as_json = True
        for job in _jobs(options["ids"]):
            attempts = [attempt_as_json(attempt) for attempt in job.attempts.order_by("fence")]
            self.answer({**job_as_json(job), "attempts": attempts}, "")

    def why(self, options: dict[str, Any]) -> None:
        """What each job waits for."""
        for job in _jobs(options["ids"]):
            explanation = explain(job)
            more = "".join(f"\n  - {gate.text}" for gate in explanation.gates[1:])
            text = f"{job.pk} {explanation.status}: {explanation.text}{more}"
            self.answer(explanation_as_json(explanation), text)

    def logs(self, options: dict[str, Any]) -> None:
        """The lines in order; with `--follow`, also those to come, until the job has ended."""
        (job,) = _jobs([options["id"]])
        last: Place | None = None
        while True:
            job.refresh_from_db(fields=["status"])  # before its lines: after its end there are none
            for line in log_of(job, attempt=options["attempt"], after=last).iterator():
                last = place_of(line)
                self.answer(line_as_json(line), _log_line(line))
            if not options["follow"] or job.status in TERMINAL:
                return
            time.sleep(FOLLOW_SECONDS)

    def cancel(self, options: dict[str, Any]) -> None:
        """Cancel each; the first that cannot be ends the command."""
        for job in _jobs(options["ids"]):
            cancelled = services.cancel(job, actor=self.actor)
            self.answer(job_as_json(cancelled), _line(cancelled))

    def retry(self, options: dict[str, Any]) -> None:
        """Retry each; the first that cannot be ends the command."""
        for job in _jobs(options["ids"]):
            ready = services.retry(job, actor=self.actor)
            self.answer(job_as_json(ready), _line(ready))

    def dlq(self, options: dict[str, Any]) -> None:
        """How many there are of each kind, the most frequent first."""
        dead = in_status(self._matching(options), Status.DLQ).order_by()
        kinds = dead.values(*KIND).annotate(count=Count("pk")).order_by("-count", *KIND)
        groups = [_kind_as_json(kind) for kind in kinds]
        lines = ["{count:>8}  {tenant}  {queue}  {task}  {error_type}".format(**g) for g in groups]
        self.answer(groups, "\n".join(lines) or "No dead letters.")

    def redrive(self, options: dict[str, Any]) -> None:
        """The dead letters given, or those that match, each once."""
        chosen = self._to_redrive(options)
        found_by = None if options["ids"] else _in_words(options)
        total, moved = sum(map(len, chosen.values())), list[str]()
        for tenant, ids in chosen.items():
            for start in range(0, len(ids), REDRIVE_BATCH):
                batch = ids[start : start + REDRIVE_BATCH]
                sent = services.redrive(batch, actor=self.actor, tenant=tenant, found_by=found_by)
                moved += map(str, sent)
                self.progress(len(moved), total)
        letters = f"dead letter{'' if len(moved) == 1 else 's'}"
        self.answer({"count": len(moved), "ids": moved}, f"Sent {len(moved)} {letters} back.")

    def pause(self, options: dict[str, Any]) -> None:
        """Pause a queue; pausing it again with a reason puts that in the place of the earlier."""
        given = {} if options["reason"] is None else {"reason": options["reason"]}
        self._set_paused(options, paused=True, **read_fields(given, PAUSE_FIELDS))

    def resume(self, options: dict[str, Any]) -> None:
        """Resume a queue."""
        self._set_paused(options, paused=False)

    def _set_paused(self, options: dict[str, Any], *, paused: bool, reason: str = "") -> None:
        tenant, queue = self._owner(options["tenant"]), options["queue"]
        services.set_queue_paused(tenant, queue, paused=paused, actor=self.actor, reason=reason)
        lane = lane_named(tenant, queue)
        self.answer(lane, _queue_line(lane))

    def purge(self, options: dict[str, Any]) -> None:
        """Delete old jobs of a tenant, or of all, with rests; or only count them."""
        slug = options["tenant"]
        chosen = [self.tenant(slug)] if slug else list(Tenant.objects.all())
        plan = [(tenant, _ages(tenant, options)) for tenant in chosen]
        old = {t.slug: sum(map(len, retention.find_old(t, ages))) for t, ages in plan}
        if options["dry_run"]:
            self._tell_purged(old, "would be deleted")
            return
        purged: Counter[str] = Counter()
        for tenant, ages in plan:
            try:
                for count in retention.resting(retention.purge(tenant, ages)):
                    purged[tenant.slug] += count
                    self.progress(purged.total(), sum(old.values()))
            finally:  # also what was deleted before somebody broke it off
                self._audit_purge(tenant, ages, purged[tenant.slug])
        self._tell_purged(purged, "deleted")

    def _audit_purge(self, tenant: Tenant, ages: Ages, count: int) -> None:
        if count:
            details = {"count": count, **ages._asdict()}
            audit(self.actor, "purge", tenant.pk, f"{count} jobs", **details)

    def _tell_purged(self, counts: Mapping[str, int], what: str) -> None:
        found = {slug: count for slug, count in counts.items() if count}
        lines = [f"{count:>10,}  {slug}" for slug, count in found.items()]
        lines.append(f"{sum(found.values()):>10,}  jobs {what}")
        answer = {"count": sum(found.values()), "tenants": found}
        self.answer(answer, "\n".join(lines))

    def _to_redrive(self, options: dict[str, Any]) -> Mapping[Tenant, Sequence[Any]]:
        """Their ids by tenant, all read before any is sent back: what dies again stays dead."""
        if options["ids"]:
            return _by_tenant((job.tenant_id, job.pk) for job in _jobs(options["ids"]))
        if not options["all"] and not any(options[name] for name in ("tenant", *_given(options))):
            self.refuse("Give ids, a filter, or --all.", USAGE)
        dead = in_status(self._matching(options), Status.DLQ)
        return _by_tenant(dead.order_by("pk").values_list("tenant_id", "pk"))

    def _matching(self, options: dict[str, Any]) -> QuerySet[Job]:
        tenant, wanted = self._asked(options)
        visible = jobs_of_tenant(tenant) if tenant else Job.objects.all()
        return filtered(visible, tenant, settled(wanted))

    def _asked(self, options: dict[str, Any]) -> tuple[Tenant | None, Filter]:
        tenant = self.tenant(options["tenant"]) if options["tenant"] else None
        filters = {
            name: read_parameter(name, options[name], FILTERS[name]) for name in _given(options)
        }
        return tenant, all_of(filters)

    def _owner(self, slug: str | None) -> Tenant:
        """The tenant named, or the only one there is."""
        if slug:
            return self.tenant(slug)
        tenants = list(Tenant.objects.all()[:2])
        if len(tenants) != 1:
            self.refuse("Say whose it is: --tenant SLUG.")
        return tenants[0]


def _add_submission(parser: ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", nargs="?", default=DEFAULT_TASK)
    parser.add_argument("--tenant", metavar="SLUG", help="default: the only one there is")
    parser.add_argument("--payload", metavar="JSON", help="- reads it from standard input")
    parser.add_argument("--queue", help="default: the task's own")
    parser.add_argument("--priority", type=_integer_or_word, help="-100 to 100, low, normal, high")
    parser.add_argument("--delay", type=float, dest="delay_seconds", metavar="SECONDS")
    parser.add_argument("--run-at", metavar="TIME", help=f"such as {example()}")
    parser.add_argument("--max-retries", type=int, metavar="N")
    parser.add_argument("--timeout", type=float, dest="timeout_seconds", metavar="SECONDS")
    parser.add_argument("--tag", action="append", dest="tags", metavar="TAG", help="repeatable")
    parser.add_argument(
        "--worker-tag",
        action="append",
        dest="worker_tags",
        metavar="TAG",
        help="a tag that its worker must have; repeatable",
    )
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key, the same job")


def _add_filters(parser: ArgumentParser, *names: str) -> None:
    for name in names:
        what = "such as 'error:timeout -tag:test'" if name == "filter" else f"of this {name}"
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"only those {what}")


def _add_queue(parser: ArgumentParser) -> None:
    parser.add_argument("queue", metavar="QUEUE")
    parser.add_argument("--tenant", metavar="SLUG", help="default: the only one there is")


def _add_log_options(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--attempt", type=_from_one, metavar="N", help="only of this attempt")
    parser.add_argument("--follow", action="store_true", help="go on until the job has ended")


def _add_ages(parser: ArgumentParser) -> None:
    parser.add_argument("--tenant", metavar="SLUG", help="only the jobs of this tenant")
    for option, what in (("--older-than", "done or cancelled"), ("--dead-older-than", "dead")):
        text = f"{what} for so long, instead of what the tenant or the settings say"
        parser.add_argument(option, type=_days, metavar="DAYS", help=text)
    parser.add_argument("--dry-run", action="store_true", help="only say how many there are")


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ArgumentTypeError(f"{text!r} is no number of jobs")
    return int(text)


def _from_one(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def _days(text: str) -> float:
    days = float(text) if text.replace(".", "", 1).isdecimal() else math.nan
    if not math.isfinite(days):
        raise ArgumentTypeError(f"{text!r} is no number of days")
    return days


def _ages(tenant: Tenant, options: dict[str, Any]) -> Ages:
    """When the tenant's jobs are old, as the options say, otherwise as ever."""
    usual = retention.ages_of(tenant)
    finished, dead = options["older_than"], options["dead_older_than"]
    return Ages(
        usual.finished if finished is None else finished * retention.DAY,
        usual.dead if dead is None else dead * retention.DAY,
    )


def _given(options: dict[str, Any]) -> list[str]:
    return [name for name in FILTERS if options.get(name) is not None]


def _in_words(options: dict[str, Any]) -> str:
    """The filters that were given, as one."""
    given = [name for name in _given(options) if name != "filter"]
    return " ".join(
        [options["filter"] or "", *(spelled(one, options[one]) for one in given)]
    ).strip()


def _by_tenant(rows: Iterable[tuple[int, Any]]) -> Mapping[Tenant, Sequence[Any]]:
    ids = defaultdict(list)
    for tenant_id, job_id in rows:
        ids[tenant_id].append(job_id)
    return {tenant: ids[pk] for pk, tenant in Tenant.objects.in_bulk(ids).items()}


def _body(options: dict[str, Any]) -> dict[str, Any]:
    """The request body that would ask for the same."""
    body = {name: options[name] for name in OPTIONAL_FIELDS if options[name] is not None}
    body["task"] = options["task"]
    payload = options["payload"]
    if payload is not None:
        source = sys.stdin.buffer.read() if payload == "-" else payload.encode()
        body["payload"] = loads(source, max_depth=conf().max_json_depth)
    return body


def _integer_or_word(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdecimal() else text


def _jobs(ids: Sequence[str]) -> list[Job]:
    """The jobs of these ids, all of them. Raises `JobNotFound` before anything was done."""
    return [get_job(Job.objects.all(), job_id) for job_id in ids]


def _found(search: Search) -> Iterator[Job]:
    """All that match, read page by page."""
    last: UUID | None = None
    while True:
        jobs, last = search.page(last, PAGE)
        yield from jobs
        if last is None:
            return


def _line(job: Job) -> str:
    place = f"{job.queue:<16} {job.task:<24}"
    return f"{job.pk}  {job.status:<9}  {place}  attempt {job.attempt}  {instant(job.created_at)}"


def _queue_line(lane: Mapping[str, Any]) -> str:
    reason = f": {lane['pause_reason']}" if lane["pause_reason"] else ""
    return f"{lane['name']} is {'paused' if lane['paused'] else 'active'}{reason}"


def _log_line(line: LogLine) -> str:
    level = level_name(line.level).upper()
    return f"{instant(line.at)}  #{line.attempt}  {level:<8}  {line.logger}: {line.message}"


def _kind_as_json(kind: dict[str, Any]) -> dict[str, Any]:
    return {"tenant": kind.pop("tenant__slug"), **kind}
