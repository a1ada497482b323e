"""The tenant's keys: list, make, rotate, revoke. Each needs a key with the scope `admin`.

A key's text is in the answer that makes it and nowhere else. No key can be had that may do more
than the one that asks for it, nor one that lasts longer.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api import examples
from jobs.api.pages import page_of_rows, read_page
from jobs.api.parsers import body_of, body_or_nothing_of
from jobs.api.schema import (
    INSTANT,
    MAYBE_INSTANT,
    NAME,
    TEXT,
    described,
    list_parameters,
    location,
    nullable,
    object_of,
    page_schema,
    parameter,
    record,
)
from jobs.api.view import TenantView
from jobs.errors import InvalidInput, OwnKey
from jobs.fields import (
    ONE_LINE,
    Field,
    bounded,
    integer,
    moment,
    optional,
    read_fields,
    text,
    texts,
)
from jobs.instants import instant
from jobs.keys import (
    MAX_NAME,
    MAX_QUEUES,
    KeyState,
    Scope,
    create_api_key,
    end_of_successor,
    find_key,
    key_state,
    revoke_api_key,
    rotate_api_key,
)
from jobs.models import ApiKey

MAX_OVERLAP_SECONDS = 30 * 86_400
DEFAULT_OVERLAP_SECONDS = 86_400


def _name(value: Any) -> str:
    if not re.fullmatch(rf"{ONE_LINE}{{0,{MAX_NAME}}}", text(value)):
        raise InvalidInput(f"must be one line of up to {MAX_NAME} characters.")
    return str(value)


def _later(value: Any) -> datetime:
    wanted = moment(value)
    if wanted <= timezone.now():
        raise InvalidInput("must be in the future.", code="out_of_range")
    return wanted


def _queues(value: Any) -> list[str]:
    texts(value)
    return list(value)  # with those that are repeated: so many were given


def _yes(value: str) -> bool:
    if value != "true":
        raise InvalidInput("is true or absent.", code="invalid_choice")
    return True


_SCOPE_LIST = {"type": "array", "minItems": 1, "items": {"enum": list(Scope), "type": "string"}}
_QUEUE_LIST = {"type": "array", "maxItems": MAX_QUEUES, "items": NAME}
_EXPIRES = Field(
    optional(_later), nullable("string", format="date-time", examples=[examples.INSTANT])
)

KEY_FIELDS: Mapping[str, Field] = {
    "name": Field(_name, {"type": "string", "maxLength": MAX_NAME, "pattern": f"^{ONE_LINE}*$"}),
    "scopes": Field(texts, _SCOPE_LIST),
    "queues": Field(_queues, _QUEUE_LIST),
    "expires_at": _EXPIRES,
}
ROTATION_FIELDS: Mapping[str, Field] = {
    "overlap_seconds": bounded(integer, 0, MAX_OVERLAP_SECONDS, default=DEFAULT_OVERLAP_SECONDS),
    "expires_at": _EXPIRES,
}

_KEY = {
    "id": TEXT,
    "name": TEXT,
    "hint": TEXT,
    "scopes": _SCOPE_LIST,
    "queues": _QUEUE_LIST,
    "state": {"type": "string", "enum": [state.value for state in KeyState]},
    "is_own": {"type": "boolean"},
    "created_at": INSTANT,
    "created_by": TEXT,
    "expires_at": MAYBE_INSTANT,
    "revoked_at": MAYBE_INSTANT,
    "last_used_at": MAYBE_INSTANT,
}
KEY, NEW_KEY = record(_KEY), record({"key": TEXT, **_KEY})


class KeysView(TenantView):
    """What every call about keys needs."""

    is_of_whole_tenant = True

    def shown(self, key: ApiKey) -> dict[str, Any]:
        """The key without its secret. `last_used_at` is noted every five minutes at most."""
        return {
            "id": key.prefix,
            "name": key.name,
            "hint": f"jq_{key.prefix}_…{key.last_four}",
            "scopes": key.scopes,
            "queues": key.queues,
            "state": key_state(key),
            "is_own": key.pk == self.key.pk,
            "created_at": instant(key.created_at),
            "created_by": key.created_by,
            "expires_at": instant(key.expires_at),
            "revoked_at": instant(key.revoked_at),
            "last_used_at": instant(key.last_used_at),
        }

    def made(self, key: ApiKey, secret: str) -> Response:
        """201 with a new key, its text this once, and its address."""
        where = reverse("api-key", args=[key.prefix])
        shown = {"key": secret, **self.shown(key)}
        return Response(shown, status=201, headers={"Location": where})


class Keys(KeysView):
    """`/keys`"""

    scopes = {"GET": Scope.ADMIN, "POST": Scope.ADMIN}
    query = None

    @described(
        "list_keys",
        "List the tenant's keys, newest first",
        answers={200: page_schema(KEY)},
        parameters=list_parameters({}),
        problems=("queue_not_allowed",),
    )
    def get(self, request: Request) -> Response:
        """All of them, also those that have ended; without their secrets, which nobody has."""
        page = read_page(request, self.tenant, {})
        keys = ApiKey.objects.filter(tenant=self.tenant)
        return Response(page_of_rows(request, page, keys, self.shown))

    @described(
        "create_key",
        "Make a key",
        request=object_of(KEY_FIELDS, "scopes", example={"name": "ci", "scopes": ["submit"]}),
        answers={201: NEW_KEY},
        parameters=[location(201)],
        problems=("queue_not_allowed", "too_many_keys", "missing_field"),
    )
    def post(self, request: Request) -> Response:
        """`key` is its text, shown this once.

        `queues` are the only ones it may use, empty for all; it expires with the key that makes it,
        or before.
        """
        given = read_fields(body_of(request), KEY_FIELDS)
        if "scopes" not in given:
            raise InvalidInput("scopes is missing.", code="missing_field", pointer="scopes")
        made, secret = create_api_key(self.tenant, **given, granted_by=self.key, actor=self.actor)
        return self.made(made, secret)


class OneKey(KeysView):
    """`/keys/{id}`"""

    scopes = {"GET": Scope.ADMIN, "DELETE": Scope.ADMIN}
    query = None

    @described("get_key", "One key", answers={200: KEY}, problems=("queue_not_allowed",))
    def get(self, request: Request, key_id: str) -> Response:
        """Without its secret. The id of a key are the eight characters after `jq_`."""
        self.read_query({})
        return Response(self.shown(find_key(self.tenant, key_id)))

    @described(
        "revoke_key",
        "Revoke a key",
        answers={200: KEY},
        parameters=[parameter("own", {"type": "string", "enum": ["true"]})],
        problems=("queue_not_allowed", "own_key"),
    )
    def delete(self, request: Request, key_id: str) -> Response:
        """Requests with it are refused, everywhere after two seconds at the latest.

        It stays in the list, so that its uses can be traced. A key that revokes itself has to say
        so with `own=true`.
        """
        given = self.read_query({"own": _yes})
        key = find_key(self.tenant, key_id)
        if key.pk == self.key.pk and "own" not in given:
            raise OwnKey("This is the key that you are using; add ?own=true if you mean it.")
        return Response(self.shown(revoke_api_key(key, actor=self.actor)))


class RotateKey(KeysView):
    """`/keys/{id}/rotate`"""

    scopes = {"POST": Scope.ADMIN}

    @described(
        "rotate_key",
        "Make a key that takes another's place",
        request=object_of(ROTATION_FIELDS, example={"overlap_seconds": 3_600}),
        may_be_empty=True,
        answers={201: NEW_KEY},
        parameters=[location(201)],
        problems=("queue_not_allowed", "key_ended", "already_rotated", "too_many_keys"),
    )
    def post(self, request: Request, key_id: str) -> Response:
        """The new key may do the same; the old one works for `overlap_seconds` more.

        A day if they are not given. `expires_at` is of the new key; by default it ends when the old
        one would have, or with the key that asks for it if that is before. Rotating the old one
        again revokes the new one, unless that was used: then it is a 409.
        """
        given = read_fields(body_or_nothing_of(request), ROTATION_FIELDS)
        old = find_key(self.tenant, key_id)
        made, secret = rotate_api_key(
            old,
            overlap=timedelta(seconds=given.get("overlap_seconds", DEFAULT_OVERLAP_SECONDS)),
            expires_at=given.get("expires_at", end_of_successor(old, self.key)),
            granted_by=self.key,
            actor=self.actor,
        )
        return self.made(made, secret)
