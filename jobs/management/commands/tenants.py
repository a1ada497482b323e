"""`manage.py tenants`: make tenants, list them, set their limits and those of queues and tasks."""

from argparse import SUPPRESS, ArgumentParser
from typing import Any

from django.db.models import Q

from jobs import services, tenant_keys
from jobs.errors import QueueNotFound
from jobs.management.terminal import NOT_FOUND, WRONG_STATUS, DomainCommand, positive_or_none
from jobs.models import START_LIMITS, Lane, TaskLimit, Tenant
from jobs.tenants import DAYS_KEPT, create_tenant

LIMITS = (*START_LIMITS, "submissions_per_minute", "max_pending", "weight", *DAYS_KEPT)
OF_QUEUE = (*START_LIMITS, "weight")
TEXTS = {
    "max_running": "jobs running at once",
    "starts_per_minute": "jobs started per minute, evenly",
    "start_burst": "of these, how many may start at one moment",
    "submissions_per_minute": "accepted in any 60 seconds",
    "max_pending": "waiting jobs",
    "weight": "share of the workers",
    "keep_finished_days": "days that done and cancelled jobs are kept, none: as the settings say",
    "keep_dead_days": "days that dead letters are kept, none: as the settings say",
}
DEFAULTS = {"max_running": 5, "submissions_per_minute": 10, "start_burst": 1, "weight": 1}
NOTHING_GIVEN = "Nothing to change was given; see --help."


class Command(DomainCommand):
    """Parses and prints; `jobs.tenants` and `jobs.services` do the work."""

    help = "Make tenants, list them, set their limits and those of their queues and tasks."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Six verbs about limits, and those about encryption."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = self.add_verb(verbs, "create", "Make a tenant.")
        create.add_argument("slug", metavar="SLUG", help="lower-case letters, digits, hyphens")
        _add_limits(create, LIMITS, defaults=True)
        self.add_verb(verbs, "list", "List the tenants.")
        change = self.add_verb(verbs, "set", "Change limits; in force at the next claim.")
        change.add_argument("slug", metavar="SLUG")
        _add_limits(change, LIMITS)
        activity = change.add_mutually_exclusive_group()
        activity.add_argument("--active", action="store_const", const=True, dest="is_active")
        activity.add_argument("--inactive", action="store_const", const=False, dest="is_active")
        queue = self.add_verb(verbs, "limit-queue", "Change the limits of a tenant's queue.")
        queue.add_argument("slug", metavar="SLUG")
        queue.add_argument("queue", metavar="QUEUE")
        _add_limits(queue, OF_QUEUE)
        task = self.add_verb(verbs, "limit-task", "Limit a task, or change its limits.")
        task.add_argument("task", metavar="TASK", help="as jobs name it")
        whose = task.add_mutually_exclusive_group(required=True)
        whose.add_argument("--tenant", metavar="SLUG", help="the jobs of one tenant")
        whose.add_argument("--all", action="store_true", help="those of all tenants together")
        _add_limits(task, START_LIMITS)
        task.add_argument("--remove", action="store_true", help="lift its limits")
        self.add_verb(verbs, "limits", "List the limits of queues and tasks.")
        self._add_encryption(verbs)

    def _add_encryption(self, verbs: Any) -> None:
        encrypt = self.add_verb(verbs, "encrypt", "Encrypt a tenant's jobs, also those there are.")
        rotate = self.add_verb(verbs, "rotate-key", "Encrypt a tenant's jobs with a new key.")
        erase = self.add_verb(
            verbs, "erase-key", "Erase a tenant's key, and so its data, for good."
        )
        for verb in (encrypt, rotate, erase):
            verb.add_argument("slug", metavar="SLUG")
        rotate.add_argument(
            "--resume", action="store_true", help="make no new key: go on sealing with the present"
        )
        erase.add_argument("--yes", action="store_true", help="do not ask")
        text = "Wrap the keys of all tenants by the first of ENCRYPTION_KEYS."
        self.add_verb(verbs, "rewrap", text)

    def create(self, options: dict[str, Any]) -> None:
        """Make one."""
        tenant = create_tenant(options["slug"], actor=self.actor, **_given(options, LIMITS))
        self.answer(_as_json(tenant), f"Made the tenant {_in_words(tenant)}.")

    def list(self, options: dict[str, Any]) -> None:
        """All of them, by slug."""
        tenants = list(Tenant.objects.all())
        lines = [_in_words(tenant) for tenant in tenants]
        self.answer([_as_json(tenant) for tenant in tenants], "\n".join(lines) or "No tenants.")

    def set(self, options: dict[str, Any]) -> None:
        """Change what was given, and nothing else."""
        tenant = self.tenant(options["slug"])
        changes = _given(options, LIMITS)
        if options["is_active"] is not None:
            changes["is_active"] = options["is_active"]
        if not changes:
            self.refuse(NOTHING_GIVEN)
        services.change_limits(tenant, actor=self.actor, **changes)
        self.answer(_as_json(tenant), f"The tenant is now {_in_words(tenant)}.")

    def limit_queue(self, options: dict[str, Any]) -> None:
        """Change what was given of a queue, and nothing else."""
        tenant, name = self.tenant(options["slug"]), options["queue"]
        lane = Lane.objects.select_related("tenant").filter(tenant=tenant, queue=name).first()
        if lane is None:
            raise QueueNotFound(tenant.slug, name)
        changes = _given(options, OF_QUEUE)
        if not changes:
            self.refuse(NOTHING_GIVEN)
        services.change_limits(lane, actor=self.actor, **changes)
        self.answer(_limits_as_json(lane), f"Now {_limits_in_words(lane)}.")

    def limit_task(self, options: dict[str, Any]) -> None:
        """Change what was given of a task, and nothing else; or lift its limits."""
        tenant = None if options["all"] else self.tenant(options["tenant"])
        task, changes = options["task"], _given(options, START_LIMITS)
        if options["remove"] == bool(changes):
            self.refuse("Give limits, or --remove; see --help.")
        if options["remove"]:
            if not services.remove_task_limit(tenant, task, actor=self.actor):
                self.refuse("This task has no limit there.", NOT_FOUND)
            self.answer({}, "Lifted.")
            return
        earlier = services.find_task_limit(tenant, task)
        kept = {name: getattr(earlier, name) for name in START_LIMITS} if earlier else {}
        limit = services.set_task_limit(tenant, task, actor=self.actor, **kept | changes)
        self.answer(_limits_as_json(limit), f"Now {_limits_in_words(limit)}.")

    def limits(self, options: dict[str, Any]) -> None:
        """Those of queues, then those of tasks."""
        is_limited = Q(max_running__isnull=False) | Q(starts_per_minute__isnull=False)
        lanes = Lane.objects.filter(is_limited).select_related("tenant")
        limits: list[Lane | TaskLimit] = [*lanes, *TaskLimit.objects.select_related("tenant")]
        lines = [_limits_in_words(one) for one in limits]
        self.answer([_limits_as_json(one) for one in limits], "\n".join(lines) or "No limits.")

    def encrypt(self, options: dict[str, Any]) -> None:
        """Give it a key, then seal what there was before."""
        tenant = self.tenant(options["slug"])
        tenant_keys.encrypt(tenant, actor=self.actor)
        self._seal_earlier(tenant)

    def rotate_key(self, options: dict[str, Any]) -> None:
        """Give it another key, then seal anew what there was before."""
        tenant = self.tenant(options["slug"])
        if not options["resume"]:
            tenant_keys.rotate(tenant, actor=self.actor)
        elif not tenant.key_id:
            self.refuse(f"The tenant {tenant.slug!r} is not encrypted.", WRONG_STATUS)
        self._seal_earlier(tenant)

    def _seal_earlier(self, tenant: Tenant) -> None:
        done = tenant_keys.seal_earlier(tenant, lambda x: self.progress(x.looked_at, x.total))
        text = f"New jobs of {tenant.slug} are encrypted with key {tenant.key_id}. "
        text += f"Sealed {done.sealed:,} values of {done.looked_at:,} jobs."
        if done.unreadable:
            text += f" {done.unreadable:,} cannot be opened and were left as they are."
        if done.running:
            text += f" {done.running:,} jobs are running; once they have ended, seal what they "
            text += f"leave: manage.py tenants rotate-key {tenant.slug} --resume"
        names = ("sealed", "unreadable", "running", "left", "unfinished")
        counts = {name: getattr(done, name) for name in names}
        self.answer({"tenant": tenant.slug, "key": tenant.key_id, **counts}, text)
        if done.left or done.unfinished:
            self.refuse(
                f"Not all is sealed: {done.left:,} jobs were left as they were, and "
                f"{done.unfinished:,} transactions go on that may have submitted others. Go on "
                f"when these have ended: manage.py tenants rotate-key {tenant.slug} --resume"
            )

    def erase_key(self, options: dict[str, Any]) -> None:
        """Ask, then erase."""
        tenant = self.tenant(options["slug"])
        if not options["yes"] and not self._confirms(tenant):
            self.refuse("Nothing was erased.")
        done = tenant_keys.erase(tenant, actor=self.actor)
        text = f"Erased {done.keys} keys of {tenant.slug}: what they sealed is lost."
        counts = {"erased": done.keys, "unfinished": done.unfinished}
        self.answer({"tenant": tenant.slug, **counts}, text)
        if done.unfinished:
            self.refuse(
                f"The keys are erased, but {done.unfinished:,} transactions go on that may have "
                "submitted jobs before. Those are accepted and can never be opened: cancel them "
                "when the transactions have ended."
            )

    def _confirms(self, tenant: Tenant) -> bool:
        self.stderr.write(
            f"All payloads, results and error texts that {tenant.slug} has encrypted will be lost, "
            "for good. Waiting jobs will never run."
        )
        try:
            return input(f"Write {tenant.slug} to erase them: ") == tenant.slug
        except EOFError:
            return False

    def rewrap(self, options: dict[str, Any]) -> None:
        """All of them; data and data keys stay as they are."""
        count = tenant_keys.rewrap(actor=self.actor, tell=self.progress)
        self.answer({"rewrapped": count}, f"Wrapped {count} keys anew.")


def _add_limits(parser: ArgumentParser, names: tuple[str, ...], *, defaults: bool = False) -> None:
    for name in names:
        is_number = name in {"start_burst", "weight"}
        default = f" (default: {DEFAULTS.get(name, 'none')})" if defaults else ""
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int if is_number else positive_or_none,
            default=SUPPRESS,
            metavar="N" if is_number else "N|none",
            help=TEXTS[name] + default,
        )


def _given(options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The limits on the command line; None is a limit of none, and not given is absent."""
    return {name: options[name] for name in names if name in options}


def _as_json(tenant: Tenant) -> dict[str, Any]:
    limits = {name: getattr(tenant, name) for name in LIMITS}
    return {"id": tenant.pk, "slug": tenant.slug, "is_active": tenant.is_active, **limits}


def _limits_as_json(limited: Lane | TaskLimit) -> dict[str, Any]:
    is_lane = isinstance(limited, Lane)
    return {
        "tenant": limited.tenant and limited.tenant.slug,
        "queue": limited.queue if isinstance(limited, Lane) else None,
        "task": limited.task if isinstance(limited, TaskLimit) else None,
        **{name: getattr(limited, name) for name in (OF_QUEUE if is_lane else START_LIMITS)},
    }


def _in_words(tenant: Tenant) -> str:
    return f"{tenant.slug}: {_values(tenant, LIMITS)}{'' if tenant.is_active else ', inactive'}"


def _limits_in_words(limited: Lane | TaskLimit) -> str:
    whose = limited.tenant.slug if limited.tenant else "all tenants together"
    if isinstance(limited, Lane):
        return f"{whose}, queue {limited.queue}: {_values(limited, OF_QUEUE)}"
    return f"{whose}, task {limited.task}: {_values(limited, START_LIMITS)}"


def _values(limited: Tenant | Lane | TaskLimit, names: tuple[str, ...]) -> str:
    values = {name: getattr(limited, name) for name in names}
    return ", ".join(f"{name}={'none' if x is None else x}" for name, x in values.items())
