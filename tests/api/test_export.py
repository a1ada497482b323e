"""Jobs as a file: CSV and JSON lines, sent page by page by both kinds of servers."""

import csv
import gc
import io
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient, RequestFactory
from django.test.utils import CaptureQueriesContext

from jobs import exports, job_search
from jobs.errors import KeyEnded
from jobs.exports import COLUMNS
from jobs.filters import Filter
from jobs.keys import create_api_key
from jobs.models import ApiKey, Tenant
from jobs.sending import File
from jobs.services import change_limits
from jobs.statuses import Status
from jobs.store.clock import now
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def text_of(response: Any) -> str:
    assert response.status_code == 200, response.content
    assert response.streaming
    return b"".join(response).decode()


def rows(response: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(response), newline="")))


def objects(response: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(response).splitlines()]


def test_a_csv_file_has_a_row_for_each_job(api: Caller, alice: Tenant) -> None:
    done = make_job(alice, Status.DONE, payload=b'{"a": 1.10}', result=b"[1]", tags=("x", "y"))
    dead = make_job(alice, Status.DLQ, priority=-5, error_message='no,\n"such" thing')
    response = api.get("/jobs/export")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"].startswith('attachment; filename="jobs-alice-2')
    assert response["Content-Disposition"].endswith('.csv"')
    newest, oldest = rows(response)
    assert list(newest) == list(COLUMNS)
    assert (newest["id"], oldest["id"]) == (str(dead.pk), str(done.pk))
    assert (oldest["payload"], oldest["result"]) == ('{"a": 1.10}', "[1]")
    assert (oldest["tags"], oldest["finished_at"][-1]) == ("x,y", "Z")
    assert (newest["priority"], newest["error_message"]) == ("-5", 'no,\n"such" thing')
    assert (newest["result"], newest["cancel_requested"]) == ("", "false")


def test_a_line_of_json_is_what_a_list_shows(api: Caller, alice: Tenant) -> None:
    make_job(alice, Status.DONE, payload=b'{\r\n  "a":\n1.10,\n"b": "\\n"\n}')
    make_job(alice, Status.DLQ)
    response = api.get("/jobs/export?format=jsonl")
    assert response["Content-Type"] == "application/x-ndjson"
    assert response["Content-Disposition"].endswith('.jsonl"')
    assert objects(response) == api.get("/jobs").json()["results"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])  # noqa: RUF001
def test_no_text_begins_as_a_formula(api: Caller, alice: Tenant, start: str) -> None:
    formula = f"{start}cmd|' /C calc'!A0"
    make_job(alice, Status.DLQ, error_message=formula, error_type=formula, payload=b"-1")
    (row,) = rows(api.get("/jobs/export"))
    assert (row["error_type"], row["error_message"]) == (f"'{formula}", f"'{formula}")
    assert row["payload"] == "'-1"


def test_a_file_holds_what_the_filter_and_the_key_allow(
    api: Caller, alice: Tenant, mallory: Tenant, stranger: Caller
) -> None:
    mail, sms = (make_job(alice, Status.DLQ, queue=queue) for queue in ("mail", "sms"))
    make_job(alice, Status.DONE, queue="mail")
    make_job(mallory, Status.DLQ, queue="mail")
    wanted = "/jobs/export?filter=status:DLQ&format=jsonl"
    limited = Caller(create_api_key(alice, actor="command:test", queues=["mail"])[1])
    assert {job["id"] for job in objects(api.get(wanted))} == {str(mail.pk), str(sms.pk)}
    assert [job["id"] for job in objects(api.get(f"{wanted}&queue=sms"))] == [str(sms.pk)]
    assert [job["id"] for job in objects(limited.get(wanted))] == [str(mail.pk)]
    assert len(objects(stranger.get(wanted))) == 1
    assert rows(api.get("/jobs/export?queue=none")) == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("format=xml", "invalid_choice"),
        ("filter=statsu:DLQ", "unknown_word"),
        ("limit=5", "unknown_parameter"),
        ("cursor=x", "unknown_parameter"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(api: Caller, query: str, code: str) -> None:
    problem(api.get(f"/jobs/export?{query}"), 400, code)


def test_a_reader_may_accept_what_is_sent(api: Caller) -> None:
    for accept in ("text/csv", "application/x-ndjson", "application/json", "*/*"):
        assert rows(api.get("/jobs/export", headers={"Accept": accept})) == []


def test_it_is_read_page_by_page_as_it_is_sent(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    monkeypatch.setattr(job_search, "LOOKED_AT", 3)
    made = [str(make_job(alice, Status.DONE, queue=f"q{number % 2}").pk) for number in range(10)]
    pieces = iter(api.get("/jobs/export?format=jsonl&queue=q1"))
    with CaptureQueriesContext(connection) as first:
        start = next(pieces)
    with CaptureQueriesContext(connection) as others:
        rest = b"".join(pieces)
    found = [json.loads(line)["id"] for line in (start + rest).splitlines()]
    assert found == made[1::2][::-1]
    assert 0 < len(first) < len(others)


def test_pages_are_bounded_by_the_size_of_their_jobs(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_search, "MAX_PAGE_BYTES", 1_000)
    for _ in range(3):
        make_job(alice, payload=b'"%s"' % (b"x" * 600))
    pieces = list(exports.chunks(job_search.Search(alice, Filter()), exports.Form.CSV))
    assert [piece.count(b"\r\n") for piece in pieces] == [1, 1, 1, 1]


def find_nothing(alice: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven jobs that do not match, looked at two at a time."""
    monkeypatch.setattr(job_search, "LOOKED_AT", 2)
    for _ in range(7):
        make_job(alice, Status.DONE)


def test_a_search_that_finds_nothing_gives_its_reader_a_turn_after_each_step(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_nothing(alice, monkeypatch)
    rests: list[float] = []
    monkeypatch.setattr(time, "sleep", rests.append)
    pieces = list(api.get("/jobs/export?queue=none&format=jsonl"))
    assert pieces == [b""] * 4
    assert len(rests) == 4
    assert min(rests) > 0


def test_a_thread_is_left_to_others_while_one_sends_an_export(
    api: Caller, stranger: Caller
) -> None:
    first = api.get("/jobs/export")
    for caller in (api, stranger):
        refused = caller.get("/jobs/export")
        assert problem(refused, 429, "too_many_exports")
        assert int(refused["Retry-After"]) > 0
    assert rows(first) == []
    assert rows(stranger.get("/jobs/export")) == []


def test_a_head_has_the_headers_and_reads_nothing(api: Caller, alice: Tenant) -> None:
    make_job(alice)
    sending = api.get("/jobs/export")
    heads = [api.call("HEAD", "/jobs/export") for _ in range(2)]
    assert [head["Content-Type"] for head in heads] == [sending["Content-Type"]] * 2
    assert len(rows(sending)) == 1
    assert len(rows(api.get("/jobs/export"))) == 1


def test_whoever_sends_the_answer_to_a_head_comes_to_its_end_at_once() -> None:
    factory, pieces = RequestFactory(), (piece for piece in [b"a", b"b"])
    assert list(File(factory.head("/"), pieces, whose=1)) == []
    assert list(pieces) == []
    assert list(File(factory.get("/"), (piece for piece in [b"a"]), whose=1)) == [b"a"]


def test_an_answer_that_nobody_closed_does_not_count_for_ever(api: Caller) -> None:
    for _ in range(5):
        assert api.get("/jobs/export").status_code == 200
        gc.collect()
    assert rows(api.get("/jobs/export")) == []


def end_key(alice: Tenant) -> None:
    ApiKey.objects.update(revoked_at=now())


def forget_key(alice: Tenant) -> None:
    ApiKey.objects.all().delete()


def test_a_tenant_that_is_switched_off_still_reads(api: Caller, alice: Tenant) -> None:
    make_job(alice)
    change_limits(alice, actor="command:test", is_active=False)
    assert api.get("/jobs").status_code == 200
    assert len(rows(api.get("/jobs/export"))) == 1


@pytest.mark.parametrize("end", [end_key, forget_key])
def test_an_export_stops_when_its_key_ends(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch, end: Callable[[Tenant], None]
) -> None:
    monkeypatch.setattr(exports, "PAGE", 1)
    for _ in range(3):
        make_job(alice, Status.DONE)
    pieces = iter(api.get("/jobs/export?format=jsonl"))
    assert next(pieces).count(b"\n") == 1
    end(alice)
    with pytest.raises(KeyEnded):
        next(pieces)


@pytest.mark.django_db(transaction=True)
def test_an_asynchronous_server_sends_the_same(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    for _ in range(5):
        make_job(alice, Status.DONE)

    async def fetch() -> list[bytes]:
        response = await AsyncClient().get("/api/v1/jobs/export", headers=api.headers)
        assert response.is_async
        return [piece async for piece in response.streaming_content]

    pieces = async_to_sync(fetch)()
    assert len(pieces) == 4
    assert b"".join(pieces).decode() == text_of(api.get("/jobs/export"))
