"""A tenant's own keys over REST: made, rotated, revoked; none may do more than its maker."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.instants import instant
from jobs.keys import create_api_key
from jobs.models import ApiKey, AuditEntry, Tenant
from tests.api.conftest import Caller, problem

pytestmark = pytest.mark.django_db


def make(api: Caller, **fields: Any) -> dict[str, Any]:
    """A key that must be made; answers what is told of it."""
    response = api.post("/keys", {"scopes": ["read"], **fields})
    assert response.status_code == 201, response.content
    made: dict[str, Any] = response.json()
    return made


def test_the_secret_is_shown_once(api: Caller) -> None:
    made = make(api, name="ci", scopes=["read", "submit"])
    assert Caller(made["key"]).get("/queues").status_code == 200
    assert made["hint"] == f"jq_{made['id']}_…{made['key'][-4:]}"
    shown = api.get(f"/keys/{made['id']}")
    assert made["key"].split("_")[2] not in shown.content.decode()
    listed = api.get("/keys").json()["results"]
    assert listed[0]["id"] == made["id"]
    assert [key["is_own"] for key in listed] == [False, True]
    assert listed[0]["scopes"] == ["submit", "read"]
    assert listed[0]["created_by"].startswith("key:")


def test_only_an_admins_key_has_to_do_with_keys(
    alice: Tenant, caller_of: Callable[..., Caller]
) -> None:
    for scope in ("submit", "read", "work"):
        caller = caller_of(alice, scope)
        problem(caller.get("/keys"), 403, "insufficient_scope")
        problem(caller.post("/keys", {"scopes": [scope]}), 403, "insufficient_scope")


def test_a_revoked_key_is_useless_and_stays_in_the_list(api: Caller) -> None:
    made = make(api)
    answer = api.call("DELETE", f"/keys/{made['id']}")
    assert answer.json()["state"] == "revoked"
    problem(Caller(made["key"]).get("/queues"), 401, "authentication_failed")
    assert api.get(f"/keys/{made['id']}").json()["state"] == "revoked"
    assert api.call("DELETE", f"/keys/{made['id']}").json() == answer.json()


def test_a_key_revokes_itself_only_if_it_says_so(api: Caller) -> None:
    own = api.get("/keys").json()["results"][0]["id"]
    problem(api.call("DELETE", f"/keys/{own}"), 409, "own_key")
    problem(api.call("DELETE", f"/keys/{own}?own=yes"), 400, "invalid_choice")
    assert api.call("DELETE", f"/keys/{own}?own=true").status_code == 200
    problem(api.get("/keys"), 401, "authentication_failed")


def test_a_rotated_key_works_until_its_overlap_is_over(api: Caller) -> None:
    made = make(api, name="billing", queues=["mail"])
    new = api.post(f"/keys/{made['id']}/rotate", {"overlap_seconds": 3_600}).json()
    assert (new["name"], new["queues"], new["expires_at"]) == ("billing", ["mail"], None)
    for key in (made, new):
        assert Caller(key["key"]).get("/queues").status_code == 200
    old = ApiKey.objects.get(prefix=made["id"])
    assert old.expires_at is not None
    assert timedelta(minutes=50) < old.expires_at - timezone.now() <= timedelta(hours=1)

    at_once = api.post(f"/keys/{new['id']}/rotate", {"overlap_seconds": 0}).json()
    problem(Caller(new["key"]).get("/queues"), 401, "authentication_failed")
    assert Caller(at_once["key"]).get("/queues").status_code == 200
    problem(api.post(f"/keys/{new['id']}/rotate", {"overlap_seconds": 0}), 409, "key_ended")


def test_a_rotation_never_prolongs_the_old_key(api: Caller) -> None:
    soon = instant(timezone.now() + timedelta(minutes=1))
    made = make(api, expires_at=soon)
    new = api.post(f"/keys/{made['id']}/rotate", {"overlap_seconds": 3_600}).json()
    assert new["expires_at"] == api.get(f"/keys/{made['id']}").json()["expires_at"] == soon
    later = instant(timezone.now() + timedelta(days=1))
    longer = api.post(f"/keys/{made['id']}/rotate", {"expires_at": later, "overlap_seconds": 1})
    assert longer.json()["expires_at"] == later


def test_no_key_outlives_the_one_that_made_it(alice: Tenant) -> None:
    end = timezone.now() + timedelta(days=1)
    key, text = create_api_key(alice, expires_at=end, actor="command:test")
    caller = Caller(text)
    assert make(caller)["expires_at"] == instant(end)
    later = instant(end + timedelta(seconds=1))
    problem(caller.post("/keys", {"scopes": ["read"], "expires_at": later}), 400, "out_of_range")
    renewal = caller.post(f"/keys/{key.prefix}/rotate", {"expires_at": later})
    problem(renewal, 400, "out_of_range")
    forever, _ = create_api_key(alice, actor="command:test")
    taken = caller.post(f"/keys/{forever.prefix}/rotate", {"overlap_seconds": 60})
    assert taken.json()["expires_at"] == instant(end)


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({}, "missing_field"),
    ({"scopes": []}, "invalid_choice"),
    ({"scopes": ["root"]}, "invalid_choice"),
    ({"scopes": "read"}, "invalid_type"),
    ({"scopes": ["read"], "name": 1}, "invalid_type"),
    ({"scopes": ["read"], "name": "x" * 101}, "invalid_input"),
    ({"scopes": ["read"], "queues": ["a b"]}, "invalid_input"),
    ({"scopes": ["read"], "queues": ["mail\n"]}, "invalid_input"),
    ({"scopes": ["read"], "queues": ["mail"] * 101}, "invalid_input"),
    ({"scopes": ["read"], "expires_at": "2001-01-01T00:00:00Z"}, "out_of_range"),
    ({"scopes": ["read"], "expires_at": "soon"}, "invalid_time"),
    ({"scopes": ["read"], "secret": "mine"}, "unknown_field"),
]


@pytest.mark.parametrize(("body", "code"), BAD_KEYS, ids=range(len(BAD_KEYS)))
def test_a_key_that_cannot_be_is_refused(api: Caller, body: dict[str, Any], code: str) -> None:
    if body:
        problem(api.post("/keys", body), 400, code)
    else:
        problem(api.post("/keys", {"name": "x"}), 400, code)
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("overlap", [-1, 2_592_001, 1.5, "1"])
def test_an_overlap_is_bounded(api: Caller, overlap: Any) -> None:
    made = make(api)
    answer = api.post(f"/keys/{made['id']}/rotate", {"overlap_seconds": overlap})
    assert answer.json()["code"] in {"out_of_range", "invalid_type"}
    assert ApiKey.objects.count() == 2


def test_a_tenant_has_a_bounded_number_of_keys(api: Caller, settings: Any) -> None:
    settings.JOBQUEUE = {"max_keys_per_tenant": 2}
    made = make(api)
    problem(api.post("/keys", {"scopes": ["read"]}), 409, "too_many_keys")
    api.call("DELETE", f"/keys/{made['id']}")
    make(api)


def test_a_rotation_keeps_to_the_number_of_keys(api: Caller, settings: Any) -> None:
    settings.JOBQUEUE = {"max_keys_per_tenant": 2}
    made = make(api)
    path = f"/keys/{made['id']}/rotate"
    problem(api.post(path, {"overlap_seconds": 60}), 409, "too_many_keys")
    assert Caller(made["key"]).get("/queues").status_code == 200
    assert api.get(f"/keys/{made['id']}").json()["expires_at"] is None
    assert api.post(path, {"overlap_seconds": 0}).status_code == 201


def test_a_key_whose_successor_is_in_use_is_not_rotated_again(api: Caller) -> None:
    made = make(api)
    path = f"/keys/{made['id']}/rotate"
    new = api.post(path, {"overlap_seconds": 3_600}).json()
    assert Caller(new["key"]).get("/queues").status_code == 200
    problem(api.post(path, {"overlap_seconds": 3_600}), 409, "already_rotated")
    assert Caller(new["key"]).get("/queues").status_code == 200


def test_a_successor_that_nobody_used_makes_way_for_another(api: Caller) -> None:
    made = make(api)
    path = f"/keys/{made['id']}/rotate"
    lost = api.post(path, {"overlap_seconds": 3_600}).json()
    new = api.post(path, {"overlap_seconds": 3_600}).json()
    assert api.get(f"/keys/{lost['id']}").json()["state"] == "revoked"
    assert new["expires_at"] is None
    for key in (made, new):
        assert Caller(key["key"]).get("/queues").status_code == 200


def test_a_key_whose_successor_has_expired_is_rotated_into_one_that_works(api: Caller) -> None:
    path = f"/keys/{make(api)['id']}/rotate"
    soon = instant(timezone.now() + timedelta(hours=1))
    short = api.post(path, {"overlap_seconds": 7_200, "expires_at": soon}).json()
    ApiKey.objects.filter(prefix=short["id"]).update(expires_at=timezone.now())
    new = api.post(path).json()
    assert new["state"] == "valid"
    assert Caller(new["key"]).get("/queues").status_code == 200


def test_a_rotation_without_a_word_ends_with_the_key_that_asks(alice: Tenant, api: Caller) -> None:
    end = timezone.now() + timedelta(days=1)
    _, text = create_api_key(alice, expires_at=end, actor="command:test")
    made = make(api, expires_at=instant(end + timedelta(days=1)))
    answer = Caller(text).post(f"/keys/{made['id']}/rotate", {})
    assert (answer.status_code, answer.json()["expires_at"]) == (201, instant(end))


def test_what_is_done_to_keys_is_written_down(api: Caller) -> None:
    made = make(api, queues=["mail"])
    new = api.post(f"/keys/{made['id']}/rotate", {"overlap_seconds": 60}).json()
    api.call("DELETE", f"/keys/{new['id']}")
    entries = list(AuditEntry.objects.filter(actor__startswith="key:").order_by("pk"))
    assert [entry.action for entry in entries] == [
        "create_api_key",
        "rotate_api_key",
        "revoke_api_key",
    ]
    assert {entry.address for entry in entries} == {"127.0.0.1"}
    assert entries[0].details["after"]["queues"] == ["mail"]
    assert entries[1].details["before"]["expires_at"] is None
    assert entries[1].details["successor"] == f"key:{new['id']}"
    assert made["key"] not in str([entry.details for entry in entries])


def test_the_list_of_keys_has_pages(api: Caller) -> None:
    ids = [make(api)["id"] for _ in range(4)]
    first = api.get("/keys?limit=3").json()
    second = api.get(first["next"].removeprefix("http://testserver")).json()
    found = [key["id"] for key in first["results"] + second["results"]]
    assert found[:4] == ids[::-1]
    assert len(found) == 5
    assert second["next"] is None
    problem(api.get("/keys?limit=3&cursor=x"), 400, "invalid_cursor")
    problem(api.get("/keys?name=ci"), 400, "unknown_parameter")


def test_a_successor_has_an_address(api: Caller) -> None:
    old = make(api, scopes=["read"])
    rotated = api.post(f"/keys/{old['id']}/rotate")
    assert rotated["Location"] == f"/api/v1/keys/{rotated.json()['id']}"


def test_a_rotation_without_a_body_takes_the_defaults(api: Caller) -> None:
    made = api.post("/keys", {"name": "ci", "scopes": ["read"]}).json()
    answer = api.post(f"/keys/{made['id']}/rotate", raw=b"")
    assert answer.status_code == 201
    assert answer.json()["scopes"] == ["read"]
    assert api.get(f"/keys/{made['id']}").json()["expires_at"] is not None
