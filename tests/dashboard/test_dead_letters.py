"""Dead letters are grouped by what went wrong, and a group's actions are about it alone."""

import pytest
from django.test import Client
from django.urls import reverse

from dashboard.queries import dead_letters
from jobs import operations
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.factories import make_job

MESSAGES = (
    ("HTTPError", "order 1042 not found\nsee the log of 3 May"),
    ("HTTPError", "order A-77 not found"),
    ("HTTPError", "order not found"),
    ("HTTPError", "the order 5 not found"),
    ("HTTPError", "order 5 not found, again"),
    ("HTTPError", 'a "quote", a \\ and (a|b)* [c] $^ 100 % é7 …'),
    ("HTTPError", "long " * 200),
    ("HTTPError", "a line\r\nends so"),
    ("HTTPError", "a line\twith tabs\tends so"),
    ("KeyError", "order 1042 not found"),
    ("KeyError", ""),
    ("", ""),
)


def dead(tenant: Tenant, error_type: str, message: str, task: str = "echo") -> Job:
    return make_job(tenant, Status.DLQ, error_type=error_type, error_message=message, task=task)


def groups(client: Client) -> list[tuple[str, str, str, str]]:
    shown = client.get(reverse("dead")).context["dead"]["groups"].largest
    return [(one.task, one.error_type, one.kind, str(count)) for one, count in shown]


def test_dead_letters_are_grouped_by_task_error_and_fingerprint(ann: Client, alice: Tenant) -> None:
    for error_type, message in MESSAGES[:3]:
        dead(alice, error_type, message)
    dead(alice, "HTTPError", "order 7 not found", task="sleep")

    assert groups(ann) == [
        ("echo", "HTTPError", "order # not found", "2"),
        ("echo", "HTTPError", "order not found", "1"),
        ("sleep", "HTTPError", "order # not found", "1"),
    ]


def test_a_group_has_its_first_its_last_and_the_newest(ann: Client, alice: Tenant) -> None:
    jobs = [dead(alice, "E", f"order {number}") for number in range(3)]
    times = [job.finished_at for job in jobs if job.finished_at]

    ((group, _),) = ann.get(reverse("dead")).context["dead"]["groups"].largest

    assert (group.first_at, group.last_at) == (min(times), max(times))
    assert (group.sample, group.message) == (jobs[-1].pk, "order 2")


@pytest.mark.parametrize("action", ["redrive", "discard"])
def test_an_action_on_a_group_is_about_it_alone(ann: Client, alice: Tenant, action: str) -> None:
    made = {dead(alice, *error).pk for error in MESSAGES}
    shown = ann.get(reverse("dead")).context["dead"]["groups"].largest

    for group, count in shown:
        asked = ann.get(reverse("start-operation"), {"action": action, "filter": group.filter})
        assert str(asked.context["count"]) == str(count), group.filter
    group, count = shown[0]
    assert group.kind == "order # not found"
    given = {"action": action, "filter": group.filter, "rate_per_second": "1000"}
    ann.post(reverse("start-operation"), given)
    while operations.step("w") < 5:
        pass

    left = {job.pk for job in Job.objects.filter(status=Status.DLQ)}
    assert len(made - left) == count.value == 2
    assert group.sample not in left


def test_the_links_of_a_group_hold_its_filter(ann: Client, alice: Tenant) -> None:
    job = dead(alice, "HTTPError", 'no "such" order: 5')

    page = ann.get(reverse("dead"))
    ((group, _),) = page.context["dead"]["groups"].largest

    found = ann.get(reverse("jobs"), {"filter": group.filter}).context["jobs"]["page"].rows
    assert [row.pk for row in found] == [job.pk]
    for action in ("redrive", "discard"):
        assert f"{reverse('start-operation')}?action={action}&amp;filter=status:DLQ%20" in page.text


def test_counts_are_capped_where_not_all_were_grouped(
    ann: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "GROUPED", 2)
    for number in range(2):
        dead(alice, "E", f"order {number}")
    assert groups(ann) == [("echo", "E", "order #", "2")]

    dead(alice, "E", "order 3")

    assert groups(ann) == [("echo", "E", "order #", "2+")]
    assert "among the newest 2" in ann.get(reverse("dead")).text


def test_only_the_largest_groups_are_shown(
    ann: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "SHOWN", 1)
    for message in ("a", "b", "b"):
        dead(alice, "E", message)

    assert groups(ann) == [("echo", "E", "b", "2")]
    assert "The 1 largest of 2 groups" in ann.get(reverse("dead")).text


def test_the_groups_are_of_the_tenants_that_are_shown(
    ann: Client, operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    for tenant in (alice, mallory):
        dead(tenant, "E", "order 1")

    assert groups(ann) == [("echo", "E", "order #", "1")]
    assert groups(operator) == [("echo", "E", "order #", "2")]
