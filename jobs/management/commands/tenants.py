"""`manage.py tenants`: make tenants, list them, set their limits."""

from argparse import SUPPRESS, ArgumentParser
from typing import Any

from jobs import services
from jobs.management.terminal import DomainCommand, positive_or_none
from jobs.models import Tenant
from jobs.tenants import create_tenant

LIMITS = ("max_running", "submissions_per_minute", "max_pending", "weight")


class Command(DomainCommand):
    """Parses and prints; `jobs.tenants` and `jobs.services` do the work."""

    help = "Make tenants, list them, set their limits."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Three verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = self.add_verb(verbs, "create", "Make a tenant.")
        create.add_argument("slug", metavar="SLUG", help="lower-case letters, digits, hyphens")
        _add_limits(create, defaults=True)
        self.add_verb(verbs, "list", "List the tenants.")
        change = self.add_verb(verbs, "set", "Change limits; in force at the next claim.")
        change.add_argument("slug", metavar="SLUG")
        _add_limits(change, defaults=False)
        activity = change.add_mutually_exclusive_group()
        activity.add_argument("--active", action="store_const", const=True, dest="is_active")
        activity.add_argument("--inactive", action="store_const", const=False, dest="is_active")

    def create(self, options: dict[str, Any]) -> None:
        """Make one."""
        tenant = create_tenant(options["slug"], actor=self.actor, **_given_limits(options))
        self.answer(_as_json(tenant), f"Made the tenant {_in_words(tenant)}.")

    def list(self, options: dict[str, Any]) -> None:
        """All of them, by slug."""
        tenants = list(Tenant.objects.all())
        lines = [_in_words(tenant) for tenant in tenants]
        self.answer([_as_json(tenant) for tenant in tenants], "\n".join(lines) or "No tenants.")

    def set(self, options: dict[str, Any]) -> None:
        """Change what was given, and nothing else."""
        tenant = self.tenant(options["slug"])
        changes = _given_limits(options)
        if options["is_active"] is not None:
            changes["is_active"] = options["is_active"]
        if not changes:
            self.refuse("Nothing to change was given; see --help.")
        services.change_limits(tenant, actor=self.actor, **changes)
        self.answer(_as_json(tenant), f"The tenant is now {_in_words(tenant)}.")


def _add_limits(parser: ArgumentParser, *, defaults: bool) -> None:
    def described(text: str, default: str) -> str:
        return f"{text} (default: {default})" if defaults else text

    for flag, text, default in (
        ("--max-running", "jobs running at once", "5"),
        ("--submissions-per-minute", "accepted in any 60 seconds", "10"),
        ("--max-pending", "waiting jobs", "none"),
    ):
        parser.add_argument(
            flag,
            type=positive_or_none,
            default=SUPPRESS,
            metavar="N|none",
            help=described(text, default),
        )
    weight = described("share of the workers", "1")
    parser.add_argument("--weight", type=int, default=SUPPRESS, metavar="N", help=weight)


def _given_limits(options: dict[str, Any]) -> dict[str, int | None]:
    """The limits on the command line; None is a limit of none, and not given is absent."""
    return {name: options[name] for name in LIMITS if name in options}


def _as_json(tenant: Tenant) -> dict[str, Any]:
    limits = {name: getattr(tenant, name) for name in LIMITS}
    return {"id": tenant.pk, "slug": tenant.slug, "is_active": tenant.is_active, **limits}


def _in_words(tenant: Tenant) -> str:
    limits = ", ".join(f"{name}={_or_none(getattr(tenant, name))}" for name in LIMITS)
    return f"{tenant.slug}: {limits}{'' if tenant.is_active else ', inactive'}"


def _or_none(limit: int | None) -> str:
    return "none" if limit is None else str(limit)
