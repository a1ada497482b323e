"""`manage.py apikeys`: make keys, list them, rotate them, revoke them."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.utils import timezone

from jobs.instants import instant
from jobs.keys import (
    Scope,
    create_api_key,
    end_of_successor,
    revoke_api_key,
    rotate_api_key,
)
from jobs.management.terminal import NOT_FOUND, DomainCommand
from jobs.models import ApiKey


class Command(DomainCommand):
    """Parses and prints; `jobs.keys` does the work."""

    help = "Make API keys, list them, rotate them, revoke them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Four verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = self.add_verb(verbs, "create", "Make a key of a tenant. It is shown once.")
        create.add_argument("slug", metavar="TENANT")
        create.add_argument("--name", default="", help="what the key is for")
        create.add_argument(
            "--scopes",
            default=",".join(Scope),
            help="what it may do, separated by commas (default: %(default)s)",
        )
        create.add_argument(
            "--queues", default="", help="the only queues it may use, separated by commas"
        )
        create.add_argument("--expires-days", type=float, metavar="DAYS", help="default: never")
        every = self.add_verb(verbs, "list", "List keys, without their secrets.")
        every.add_argument("slug", metavar="TENANT", nargs="?", help="default: of all tenants")
        rotate = self.add_verb(verbs, "rotate", "Make a key that takes another's place.")
        rotate.add_argument("prefix", metavar="PREFIX", help="the 8 characters after jq_")
        rotate.add_argument(
            "--overlap-hours",
            type=float,
            default=24,
            metavar="HOURS",
            help="how long the old key still works (default: %(default)s)",
        )
        revoke = self.add_verb(verbs, "revoke", "Make a key useless, within two seconds.")
        revoke.add_argument("prefix", metavar="PREFIX", help="the 8 characters after jq_")

    def create(self, options: dict[str, Any]) -> None:
        """Make one and print its text; nobody can print it again."""
        days = options["expires_days"]
        if days is not None and not 0 < days <= 36_500:
            self.refuse("--expires-days must be more than 0 and at most 36500.")
        key, text = create_api_key(
            self.tenant(options["slug"]),
            name=options["name"],
            scopes=options["scopes"].split(","),
            queues=[queue for queue in options["queues"].split(",") if queue],
            expires_at=timezone.now() + timedelta(days=days) if days else None,
            actor=self.actor,
        )
        self.answer({"key": text, **_as_json(key)}, f"{text}\nKeep it: it is not shown again.")

    def list(self, options: dict[str, Any]) -> None:
        """Newest first."""
        keys = ApiKey.objects.select_related("tenant")
        if options["slug"]:
            keys = keys.filter(tenant=self.tenant(options["slug"]))
        lines = [_in_words(key) for key in keys]
        self.answer([_as_json(key) for key in keys], "\n".join(lines) or "No keys.")

    def revoke(self, options: dict[str, Any]) -> None:
        """Revoke one; revoking it again changes nothing."""
        key = revoke_api_key(self.key(options["prefix"]), actor=self.actor)
        self.answer(_as_json(key), f"Revoked: {_in_words(key)}")

    def rotate(self, options: dict[str, Any]) -> None:
        """Make the successor and print its text; nobody can print it again."""
        hours = options["overlap_hours"]
        if not 0 <= hours <= 24 * 30:
            self.refuse("--overlap-hours must be from 0 to 720.")
        old = self.key(options["prefix"])
        key, text = rotate_api_key(
            old,
            overlap=timedelta(hours=hours),
            expires_at=end_of_successor(old),
            actor=self.actor,
        )
        self.answer({"key": text, **_as_json(key)}, f"{text}\nKeep it: it is not shown again.")

    def key(self, prefix: str) -> ApiKey:
        """The key with that prefix, or the end."""
        wanted = prefix.removeprefix("jq_")[:8]
        key = ApiKey.objects.select_related("tenant").filter(prefix=wanted).first()
        return key or self.refuse("There is no key with this prefix.", NOT_FOUND)


def _as_json(key: ApiKey) -> dict[str, Any]:
    return {
        "prefix": key.prefix,
        "tenant": key.tenant.slug,
        "name": key.name,
        "scopes": key.scopes,
        "queues": key.queues,
        "created_at": instant(key.created_at),
        "expires_at": instant(key.expires_at),
        "revoked_at": instant(key.revoked_at),
        "last_used_at": instant(key.last_used_at),
    }


def _in_words(key: ApiKey) -> str:
    state = f"revoked {instant(key.revoked_at)}" if key.revoked_at else ",".join(key.scopes)
    name = f" ({key.name})" if key.name else ""
    used = instant(key.last_used_at) or "never"
    return f"{key.prefix}  {key.tenant.slug}{name}  {state}  used {used}"
