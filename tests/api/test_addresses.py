"""Whatever stands in an address of the API, it is answered, or refused by a problem with a code."""

import pytest

from tests.api.conftest import PROBLEM, Caller, problem

pytestmark = pytest.mark.django_db

PARTS = {
    "a space": "bad%20name",
    "a NUL": "%00",
    "a NUL inside": "a%00b",
    "dots": "%2e%2e",
    "plain dots": "..",
    "a dot": ".",
    "a slash": "%2F",
    "a slash inside": "a%2Fb",
    "a slash behind": "name/",
    "two slashes": "//",
    "a backslash": "%5C..%5C",
    "a line's end": "name%0a",
    "a carriage return": "%0d%0aX-Injected:%201",
    "another language": "%E2%82%AC",
    "no UTF-8": "%ff",
    "a surrogate": "%ED%A0%80",
    "an overlong slash": "%C0%AF",
    "writing from right to left": "%E2%80%AE",
    "an escape": "%1b%5b2J",
    "a percent sign": "%25",
    "an escaped question mark": "%3F",
    "a fragment": "%23",
    "a parameter": ";a=b",
    "a quote": "%27%20OR%201=1--",
    "markup": "%3Cscript%3E",
    "a template": "%7B%7B7*7%7D%7D",
    "a hyphen in front": "-name",
    "one character too many": "x" * 129,
    "far too many": "x" * 9_000,
}
ADDRESSES = [
    *("/{}", "/jobs/{}", "/jobs/{}/cancel", "/jobs/{}/logs", "/jobs/nope/{}", "/dlq/{}"),
    *("/queues/{}", "/queues/{}/pause", "/queues/default/{}", "/task-limits/{}"),
    *("/keys/{}", "/keys/{}/rotate", "/operations/{}", "/operations/{}/cancel", "/events/{}"),
]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


@pytest.mark.parametrize("name", PARTS)
def test_no_address_is_answered_by_anything_but_a_problem(api: Caller, name: str) -> None:
    for address in ADDRESSES:
        path = f"/api/v1{address.format(PARTS[name])}"
        for method in METHODS:
            answer = api.call(method, path, {})
            told = (method, path, answer.status_code, answer.content)
            assert 400 <= answer.status_code < 500, told
            assert answer["Content-Type"] == PROBLEM, told
            assert "X-Injected" not in answer, told
            code = {400: "invalid_name", 404: "not_found", 405: "method_not_allowed"}
            if method != "HEAD":
                problem(answer, answer.status_code, code[answer.status_code])


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("GET", "/queues/{}"),
        ("PATCH", "/queues/{}"),
        ("POST", "/queues/{}/pause"),
        ("POST", "/queues/{}/resume"),
        ("GET", "/task-limits/{}"),
        ("PUT", "/task-limits/{}"),
        ("DELETE", "/task-limits/{}"),
    ],
)
def test_what_is_no_name_is_told_what_one_is(api: Caller, method: str, address: str) -> None:
    for part in ("bad%20name", "-name", "x" * 129, "%00", "name%0a", "%E2%82%AC"):
        path = f"/api/v1{address.format(part)}"
        told = problem(api.call(method, path, {"max_running": 1}), 400, "invalid_name")
        assert "letter or digit" in told["detail"]


def test_who_has_no_key_learns_nothing_about_names(nobody: Caller) -> None:
    problem(nobody.get("/queues/bad%20name"), 401, "not_authenticated")


def test_a_slash_at_the_end_is_told(api: Caller) -> None:
    for path in ("/jobs/", "/queues/", "/queues/mail/", "/queues/mail/pause/"):
        assert "ends in a slash" in problem(api.get(path), 404, "not_found")["detail"]
