"""Keys and who may do what. Rows 74 to 81 of the bad-input matrix."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from jobs import keys, shared_cache
from jobs.api import rate_limits
from jobs.errors import InvalidInput
from jobs.keys import ALPHABET, Scope, create_api_key, recognise, revoke_api_key, verify
from jobs.models import ApiKey, AuditEntry, Tenant
from tests.api.conftest import Caller, problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(alice: Tenant) -> tuple[ApiKey, str]:
    return create_api_key(alice, name="ci", actor="command:test")


def test_a_key_has_the_form_that_secret_scanners_know(made: tuple[ApiKey, str]) -> None:
    key, text = made
    start, prefix, secret = text.split("_")
    assert (start, prefix, len(prefix), len(secret)) == ("jq", key.prefix, 8, 49)
    assert set(prefix + secret) <= set(ALPHABET)


def test_only_a_hash_of_the_secret_is_stored(made: tuple[ApiKey, str]) -> None:
    key, text = made
    stored = " ".join(str(value) for value in ApiKey.objects.values_list().get(pk=key.pk))
    assert text.split("_")[2][:20] not in stored
    assert text not in "".join(str(vars(entry)) for entry in AuditEntry.objects.all())


def test_a_key_is_verified_with_its_tenant_in_one_query(
    made: tuple[ApiKey, str], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    verify(made[1])  # notes the first use
    with django_assert_num_queries(1):
        key = verify(made[1])
        assert key is not None
        assert key.tenant.slug == "alice"


def test_a_typing_error_costs_no_query(
    made: tuple[ApiKey, str], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    text = made[1]
    other = "a" if text[20] != "a" else "b"
    wrong = ["", "jq_", text[:-1], text + "a", text[:20] + other + text[21:], "x" * 10_000_000]
    with django_assert_num_queries(0):
        assert [verify(one) for one in wrong] == [None] * len(wrong)


def test_an_unknown_and_a_foreign_secret_are_refused_alike(
    api: Caller, alice: Tenant, nobody: Caller
) -> None:
    key, text = create_api_key(alice, actor="command:test")
    key.delete()
    unknown = Caller(text).get("/jobs")
    problem(unknown, 401, "authentication_failed")
    assert unknown["WWW-Authenticate"] == 'Bearer realm="jobs", error="invalid_token"'


def test_a_revoked_key_is_useless_at_once(made: tuple[ApiKey, str]) -> None:
    key, text = made
    assert Caller(text).get("/jobs").status_code == 200
    revoke_api_key(key, actor="command:test")
    problem(Caller(text).get("/jobs"), 401, "authentication_failed")
    assert revoke_api_key(key, actor="command:test").revoked_at == key.revoked_at
    assert AuditEntry.objects.filter(action="revoke_api_key").count() == 1


def test_a_good_key_is_asked_about_once_in_a_while(
    made: tuple[ApiKey, str], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    assert recognise(made[1])
    with django_assert_num_queries(0):
        assert recognise(made[1]) == made[0]
    assert made[1].encode() not in repr(keys.recent_keys).encode()


@pytest.mark.parametrize("change", ["revoked", "expired", "deleted", "tenant switched off"])
def test_what_another_process_did_to_a_key_holds_before_long(
    made: tuple[ApiKey, str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    key, text = made
    assert recognise(text)
    now = timezone.now()
    same = ApiKey.objects.filter(pk=key.pk)  # past the signals, as another process would
    match change:
        case "revoked":
            same.update(revoked_at=now)
        case "expired":
            same.update(expires_at=now)
        case "deleted":
            same._raw_delete(same.db)
        case _:
            Tenant.objects.update(is_active=False)
    assert 0 < keys.KEY_SECONDS < 5
    monkeypatch.setattr(keys, "KEY_SECONDS", 0)
    found = recognise(text)
    assert found is None or not found.tenant.is_active


def test_a_key_that_expires_is_not_believed_until_it_is_asked_about(
    made: tuple[ApiKey, str],
) -> None:
    found = recognise(made[1])
    assert found
    found.expires_at = timezone.now()
    assert recognise(made[1]) is None


def test_a_key_that_is_revoked_while_it_is_read_is_not_remembered(
    made: tuple[ApiKey, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, text = made

    def read_before_it_was_revoked(text: str) -> ApiKey | None:
        found = verify(text)
        revoke_api_key(key, actor="command:test")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(keys, "verify", read_before_it_was_revoked)
        assert recognise(text)
    assert recognise(text) is None


def test_few_keys_are_remembered(alice: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST_RECENT_KEYS", 2)
    texts = [create_api_key(alice, actor="command:test")[1] for _ in range(5)]
    assert all(recognise(text) for text in texts)
    assert len(keys.recent_keys) <= 2


def test_what_is_changed_here_holds_at_once(made: tuple[ApiKey, str], alice: Tenant) -> None:
    assert recognise(made[1])
    alice.max_running = 77
    alice.save()
    found = recognise(made[1])
    assert found
    assert found.tenant.max_running == 77


def test_an_expired_key_is_useless(alice: Tenant) -> None:
    past = timezone.now() - timedelta(seconds=1)
    _, text = create_api_key(alice, expires_at=past, actor="command:test")
    problem(Caller(text).get("/jobs"), 401, "authentication_failed")


def test_use_is_noted_once_in_a_while(made: tuple[ApiKey, str]) -> None:
    key, text = made
    verify(text)
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    verify(text)
    key.refresh_from_db()
    assert key.last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(minutes=6))
    verify(text)
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at >= first


def test_keys_survive_a_rotation_of_the_secret_key(made: tuple[ApiKey, str], settings: Any) -> None:
    old = settings.SECRET_KEY
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[old]):
        assert verify(made[1]) is not None
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[]):
        assert verify(made[1]) is None


@pytest.mark.parametrize("scopes", [(), ("root",), ("read", "Read")])
def test_unknown_scopes_are_refused(alice: Tenant, scopes: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput):
        create_api_key(alice, scopes=scopes, actor="command:test")


@pytest.mark.parametrize("header", ["Token {}", "Basic {}", "{}"])
def test_another_scheme_is_no_authentication(made: tuple[ApiKey, str], header: str) -> None:
    response = Caller(None).get("/jobs", headers={"Authorization": header.format(made[1])})
    problem(response, 401, "not_authenticated")
    assert response["WWW-Authenticate"] == 'Bearer realm="jobs"'


@pytest.mark.parametrize("header", ["Bearer", "Bearer {}, Bearer {}"])
def test_what_is_no_key_is_refused(made: tuple[ApiKey, str], header: str) -> None:
    caller = Caller(None)
    response = caller.get("/jobs", headers={"Authorization": header.format(made[1], made[1])})
    problem(response, 401, "authentication_failed")


def test_without_a_key_nothing_is_answered(nobody: Caller) -> None:
    response = nobody.get("/jobs")
    problem(response, 401, "not_authenticated")
    assert response["WWW-Authenticate"] == 'Bearer realm="jobs"'


def test_a_key_in_the_address_is_no_key(made: tuple[ApiKey, str], nobody: Caller) -> None:
    answer = problem(nobody.get(f"/jobs?key={made[1]}"), 401, "not_authenticated")
    assert made[1] not in str(answer)


CALLS = {
    "submit": [
        "POST /jobs",
        "POST /jobs/bulk",
        "POST /jobs/{job}/cancel",
        "POST /jobs/{job}/retry",
    ],
    "read": [
        "GET /jobs",
        "GET /jobs/{job}",
        "GET /jobs/{job}/why",
        "GET /dlq",
        "GET /queues",
        "GET /metrics",
    ],
    "work": [],
    "admin": [
        "POST /dlq/redrive",
        "DELETE /dlq/{job}",
        "POST /queues/default/pause",
        "POST /queues/default/resume",
        "GET /keys",
        "POST /keys",
        "GET /keys/abcd1234",
        "DELETE /keys/abcd1234",
        "POST /keys/abcd1234/rotate",
    ],
}


@pytest.mark.parametrize("held", list(Scope))
def test_a_key_does_what_its_scopes_allow_and_nothing_else(
    api: Caller, alice: Tenant, caller_of: Callable[..., Caller], held: Scope
) -> None:
    job = api.submit()["id"]
    caller = caller_of(alice, held)
    for needed, calls in CALLS.items():
        for call in calls:
            method, path = call.format(job=job).split()
            response = caller.call(method, f"/api/v1{path}", {})
            if held in {needed, Scope.ADMIN}:
                assert response.status_code not in {401, 403}, call
            else:
                answer = problem(response, 403, "insufficient_scope")
                assert needed in answer["detail"]


def test_wrong_keys_are_counted_and_a_good_one_works_meanwhile(
    api: Caller, nobody: Caller, settings: Any
) -> None:
    settings.JOBQUEUE = {"authentication_failures_per_minute": 5}
    wrong = {"Authorization": "Bearer jq_wrong"}
    answers = [nobody.get("/jobs", headers=wrong) for _ in range(20)]
    assert [answer.status_code for answer in answers[:5]] == [401] * 5
    problem(answers[-1], 429, "too_many_failures")
    assert int(answers[-1]["Retry-After"]) >= 1
    assert api.get("/jobs").status_code == 200


def test_the_address_that_is_counted_cannot_be_forged(nobody: Caller, settings: Any) -> None:
    settings.JOBQUEUE = {"authentication_failures_per_minute": 1}
    statuses = []
    for n in range(4):
        headers = {"Authorization": "Bearer x", "X-Forwarded-For": f"10.0.0.{n}"}
        statuses.append(nobody.get("/jobs", headers=headers).status_code)
    assert statuses[-1] == 429


def test_a_key_may_not_call_without_end(
    api: Caller, stranger: Caller, nobody: Caller, settings: Any
) -> None:
    settings.JOBQUEUE = {"requests_per_minute": 5}
    answers = [api.get("/queues") for _ in range(12)]  # may span two windows
    refused = next(answer for answer in answers if answer.status_code != 200)
    problem(refused, 429, "too_many_calls")
    assert refused["RateLimit-Policy"] == '"calls";q=5;w=60'
    assert stranger.get("/queues").status_code == 200
    assert nobody.get("/health/ready").status_code == 200


def test_calls_are_counted_in_slices_that_are_no_more_than_the_limit(
    api: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "SLICES", 2)
    settings.JOBQUEUE = {"requests_per_minute": 6}
    statuses = [api.get("/queues").status_code for _ in range(13)]  # may span two windows
    assert statuses[:6] == [200] * 6
    assert 429 in statuses


@pytest.mark.parametrize(
    "trouble", [ConnectionError("refused"), TimeoutError(), RuntimeError("redis says no"), None]
)
def test_calls_pass_while_the_cache_is_away(
    api: Caller,
    nobody: Caller,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: Exception | None,
) -> None:
    def away(*args: Any, **options: Any) -> None:
        if trouble:
            raise trouble

    for method in ("add", "incr", "get"):
        monkeypatch.setattr(type(caches["default"]), method, away)
    monkeypatch.setattr(shared_cache, "_told_at", {})
    assert [api.get("/queues").status_code for _ in range(3)] == [200] * 3
    assert api.post("/leases", {"worker": "w"}).status_code == 200
    wrong = nobody.get("/jobs", headers={"Authorization": "Bearer jq_wrong"})
    problem(wrong, 401, "authentication_failed")
    told = [record for record in caplog.records if record.name == shared_cache.__name__]
    assert [record.args for record in told] == [
        ("calls are not counted",),
        ("authentication failures are not counted",),
    ]
