"""What a body may be: rows 1 to 36 of the bad-input matrix."""

import json
import time

import pytest

from jobs.models import Job
from tests.api.conftest import Caller, problem

pytestmark = pytest.mark.django_db


def payload(text: str) -> bytes:
    return f'{{"payload": {text}}}'.encode()


MALFORMED = {
    "empty": (b"", "malformed_json"),
    "only spaces": (b"  \n", "malformed_json"),
    "truncated": (b'{"payload": [1, 2', "malformed_json"),
    "truncated string": (b'{"payload": "ab', "malformed_json"),
    "trailing garbage": (b'{"payload": 1} x', "malformed_json"),
    "two documents": (b"{}{}", "malformed_json"),
    "no colon": (b'{"payload" 1}', "malformed_json"),
    "no value": (b'{"payload":}', "malformed_json"),
    "no comma": (b'{"payload":1 "queue":"q"}', "malformed_json"),
    "comma at the end": (b'{"payload":1,}', "malformed_json"),
    "key without quotes": (b"{payload:1}", "malformed_json"),
    "single quotes": (b"{'payload':1}", "malformed_json"),
    "list of jobs not closed": (b'{"jobs": [{"payload":1}', "malformed_json"),
    "list with a comma at the end": (b'{"jobs": [1,]}', "malformed_json"),
    "control character": (payload('"a\x01b"'), "malformed_json"),
    "list": (b"[]", "not_an_object"),
    "string": (b'"a"', "not_an_object"),
    "null": (b"null", "not_an_object"),
    "byte order mark": (b"\xef\xbb\xbf{}", "malformed_json"),
    "invalid UTF-8": (b'{"payload": "\xff"}', "invalid_unicode"),
    "encoded surrogate": (b'{"payload": "\xed\xa0\x80"}', "invalid_unicode"),
    "UTF-16": ('{"payload": 1}'.encode("utf-16-le"), "malformed_json"),
    "NUL in a value": (payload('"a\\u0000b"'), "nul_character"),
    "NUL in a key": (payload('{"a\\u0000": 1}'), "nul_character"),
    "NUL in a name": (b'{"queue": "a\\u0000"}', "nul_character"),
    "lone high surrogate": (payload('"\\ud800"'), "invalid_unicode"),
    "lone low surrogate": (payload('"\\uDC00"'), "invalid_unicode"),
    "surrogates in the wrong order": (payload('"\\udc00\\ud800"'), "invalid_unicode"),
    "surrogate in a name": (b'{"queue": "\\ud800"}', "invalid_unicode"),
    "NaN": (payload("NaN"), "invalid_number"),
    "Infinity": (payload("Infinity"), "invalid_number"),
    "-Infinity": (payload("[-Infinity]"), "invalid_number"),
    "1e400": (payload("1e400"), "invalid_number"),
    "-1E400": (payload('{"a": -1E400}'), "invalid_number"),
    "5,001 digits": (payload("1" * 5_001), "invalid_number"),
    "repeated key": (payload('{"a": 1, "a": 1}'), "duplicate_key"),
    "repeated key deep inside": (payload('[[{"b": {"a": 1, "a": 2}}]]'), "duplicate_key"),
    "repeated key, written in two ways": (payload('{"a": 1, "\\u0061": 2}'), "duplicate_key"),
    "repeated field": (b'{"queue": "a", "queue": "b"}', "duplicate_key"),
    "repeated payload": (b'{"payload": 1, "payload": 1}', "duplicate_key"),
    "65 lists deep": (payload("[" * 65 + "]" * 65), "too_deep"),
    "900 objects deep": (payload('{"a":' * 900 + "1" + "}" * 900), "too_deep"),
    "100,000 lists deep": (payload("[" * 100_000 + "]" * 100_000), "too_deep"),
    "100,000 lists never closed": (b"[" * 100_000, "too_deep"),
    "100,000 objects deep": (b'{"a":' * 100_000, "too_deep"),
}


@pytest.mark.usefixtures("nothing_lost")
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_strict_json_is_refused_and_nothing_stored(api: Caller, name: str) -> None:
    body, code = MALFORMED[name]
    problem(api.post("/jobs", raw=body), 400, code)


def many(item: str, count: int) -> str:
    return f"[{','.join([item] * count)}]"


COSTLY = {
    "a million numbers": payload(many("0", 1_000_000)),
    "a million keys": payload("{" + ",".join(f'"{n}":0' for n in range(400_000)) + "}"),
    "a million empty lists": payload(many("[]", 1_500_000)),
    "a million empty objects": payload(many("{}", 1_500_000)),
    "a million jobs": f'{{"jobs": {many("{}", 1_500_000)}}}'.encode(),
    "a million jobs that are numbers": f'{{"jobs": {many("0", 2_000_000)}}}'.encode(),
    "a million leases": f'{{"leases": {many("[]", 1_500_000)}}}'.encode(),
    "a million fields": ("{" + ",".join(f'"{n}":0' for n in range(400_000)) + "}").encode(),
    "the same field a million times": ("{" + ",".join(['"a":0'] * 700_000) + "}").encode(),
}
ALLOWED_SECONDS = 4


@pytest.mark.usefixtures("nothing_lost")
@pytest.mark.parametrize("name", COSTLY)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/bulk", "/leases/ack"])
def test_what_would_take_long_to_read_is_refused_soon(api: Caller, path: str, name: str) -> None:
    began = time.process_time()
    answer = api.post(path, raw=COSTLY[name])
    assert answer.status_code in {400, 413}
    assert answer.json()["code"] in {"too_large", "too_many_items", "unknown_field"}
    assert time.process_time() - began < ALLOWED_SECONDS


@pytest.mark.usefixtures("nothing_lost")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_bulk_body_is_as_strict(api: Caller, name: str) -> None:
    body, code = MALFORMED[name]
    good = b'{"payload": 1}'
    response = api.post("/jobs/bulk", raw=b'{"jobs": [' + good + b", " + body + b"]}")
    # In a list, "[]", "null" and the like are JSON, but no job.
    assert response.status_code == 400
    if code not in {"malformed_json", "not_an_object"}:
        problem(response, 400, code)


FAITHFUL = [
    "null",
    "true",
    '"a string holding \\"JSON\\": {}"',
    "1e308",
    "1e-400",
    "0.1234567890123456789012345678901234567890",
    "9223372036854775808",
    "1" + "0" * 400,
    "-0.0",
    "1.0",
    "[" * 64 + "]" * 64,
    '{ "spaced" :\n\t[ 1 ,2 ] }',
    '{"z": 1, "a": 2}',
    '{"__proto__": 1, "constructor": 2, "$where": 3, "__class__": 4, "": 5}',
    '"😀 \\ud83d\\ude00 \\u00e9 é e\\u0301 \\u202e"',
    '"\\\\u0000 \\\\ud800 is text about escapes"',
    '"<script>alert(1)</script> {{7*7}} =cmd() \\u001b[31m"',
    '"[[[[{{{{ brackets in a string \\" do not nest"',
    "[" + ",".join("[]" for _ in range(1_000)) + "]",
]


@pytest.mark.parametrize("text", FAITHFUL, ids=range(len(FAITHFUL)))
def test_a_payload_comes_back_byte_for_byte(api: Caller, text: str) -> None:
    response = api.post("/jobs", raw=payload(text))
    assert response.status_code == 201, response.content
    job_id = response.json()["id"]
    for answer in (response, api.get(f"/jobs/{job_id}"), api.get("/jobs")):
        assert b'"payload": ' + text.encode() + b', "result"' in answer.content
    assert bytes(Job.objects.get().payload) == text.encode()


def test_payloads_of_a_bulk_body_keep_their_bytes(api: Caller) -> None:
    body = b'{"jobs":[ {"payload" : 1.10 } ,{"tags":["a"],"payload":{"b" : [ ]}}]}'
    assert api.post("/jobs/bulk", raw=body).status_code == 201
    stored = [bytes(job.payload) for job in Job.objects.order_by("pk")]
    assert stored == [b"1.10", b'{"b" : [ ]}']


def test_a_payload_of_the_largest_size_is_taken_and_one_byte_more_is_not(api: Caller) -> None:
    largest = json.dumps("x" * 999_998)
    assert api.post("/jobs", raw=payload(largest)).status_code == 201
    problem(api.post("/jobs", raw=payload(json.dumps("x" * 999_999))), 413, "too_large")


def test_a_body_that_is_too_large_is_refused_unread(api: Caller) -> None:
    problem(api.post("/jobs", raw=b" " * 5_000_001), 413, "too_large")


HOSTILE_BUT_LARGE = {
    "escapes in a string that never ends": b'"' + b'\\"' * 2_000_000,
    "quotes": b'"' * 4_000_000,
    "escaped surrogate pairs": payload('"' + "\\ud83d\\ude00" * 80_000 + '"'),
    "brackets": payload("[" + "[]," * 300_000 + "[]]"),
    "keys": payload("{" + ",".join(f'"{n}":0' for n in range(90_000)) + ',"0":0}'),
}


@pytest.mark.parametrize("name", HOSTILE_BUT_LARGE)
def test_no_body_takes_long_to_judge(api: Caller, name: str) -> None:
    # Quadratic work on such sizes would take hours: that this test ends is the assertion.
    assert api.post("/jobs", raw=HOSTILE_BUT_LARGE[name]).status_code in {201, 400}


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json; charset=bogus",
        "*/*",
        "application/*",
    ],
)
def test_other_media_types_and_charsets_are_refused(api: Caller, content_type: str) -> None:
    response = api.post("/jobs", raw=b'{"payload": 1}', content_type=content_type)
    problem(response, 415, "unsupported_media_type")


def test_a_body_without_a_content_type_is_refused(api: Caller) -> None:
    problem(api.post("/jobs", raw=b"{}", content_type=""), 415, "unsupported_media_type")


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"'])
def test_utf8_may_be_named(api: Caller, charset: str) -> None:
    content_type = f"application/json; charset={charset}"
    assert api.post("/jobs", raw=b"{}", content_type=content_type).status_code == 201


@pytest.mark.parametrize("encoding", ["gzip", "deflate, gzip", "br"])
def test_an_encoded_body_is_refused(api: Caller, encoding: str) -> None:
    response = api.post("/jobs", raw=b"{}", headers={"Content-Encoding": encoding})
    problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("call", ["POST /jobs", "POST /queues/default/resume", "GET /jobs"])
def test_a_body_without_its_length_is_refused(api: Caller, call: str) -> None:
    method, path = call.split()
    response = api.client.generic(
        method,
        f"/api/v1{path}",
        content_type="application/json",
        headers={**api.headers, "Transfer-Encoding": "chunked"},
    )
    problem(response, 411, "length_required")


def test_an_error_does_not_repeat_what_was_sent(api: Caller) -> None:
    body = json.dumps({"payload": "s3cret-payload", "unknown-s3cret" * 40: 1}).encode()
    answer = problem(api.post("/jobs", raw=body), 400, "unknown_field")
    assert "s3cret-payload" not in json.dumps(answer)
