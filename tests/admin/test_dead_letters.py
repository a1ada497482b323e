"""Dead letters are grouped, decided about behind a question, and every decision is on record."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.test import Client

from jobs import services
from jobs.admin.dead_letters import DeadLetterAdmin
from jobs.models import Attempt, AuditEntry, DeadLetter, Job, Tenant
from jobs.statuses import Reason, Status
from tests.factories import make_job

LIST = "/admin/jobs/deadletter/"


@pytest.fixture
def dead(alice: Tenant) -> list[Job]:
    """Three dead letters of Alice, of two errors."""
    lost = {"error_type": "Timeout", "error_message": "took 9 s", "task": "fetch"}
    return [
        make_job(alice, Status.DLQ),
        make_job(alice, Status.DLQ),
        make_job(alice, Status.DLQ, **lost),
    ]


def test_the_list_has_dead_letters_alone(operator: Client, alice: Tenant, dead: list[Job]) -> None:
    make_job(alice, Status.DONE)
    assert set(_listed(operator)) == {job.pk for job in dead}


@pytest.mark.usefixtures("dead")
def test_errors_are_grouped_with_count_and_sample(operator: Client) -> None:
    groups = operator.get(LIST).context["groups"]
    assert [(g.error_type, g.task, g.count, g.sample) for g in groups] == [
        ("ValueError", "echo", 2, "no such thing"),
        ("Timeout", "fetch", 1, "took 9 s"),
    ]
    assert groups[0].first_at < groups[0].last_at


def test_a_group_leads_to_its_dead_letters(operator: Client, dead: list[Job]) -> None:
    groups = operator.get(LIST).context["groups"]
    assert _listed(operator, groups[1].link) == [dead[2].pk]


def test_groups_follow_the_filters(operator: Client, dead: list[Job], mallory: Tenant) -> None:
    make_job(mallory, Status.DLQ, error_type="Other")
    groups = operator.get(f"{LIST}?tenant=mallory").context["groups"]
    assert [group.error_type for group in groups] == ["Other"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("tenant=mallory", 1),
        ("tenant=alice", 1),
        ("queue=mail", 1),
        ("task=pay", 1),
        ("error=Odd", 1),
        ("reason=poison", 1),
        ("reason=not_retryable", 0),
        ("tenant=alice&queue=mail", 0),
        ("tenant=nobody", 0),
    ],
)
def test_dead_letters_are_filtered(
    operator: Client, alice: Tenant, mallory: Tenant, filters: str, expected: int
) -> None:
    make_job(alice, Status.DLQ)
    odd = {"error_type": "Odd", "reason": Reason.POISON}
    make_job(mallory, Status.DLQ, queue="mail", task="pay", **odd)
    assert len(_listed(operator, f"?{filters}")) == expected


def test_redrive_asks_then_acts_and_is_on_record(operator: Client, dead: list[Job]) -> None:
    asked = _choose(operator, "redrive", dead[:2])
    assert "Redrive 2 dead letters?" in asked.text
    assert str(dead[0].pk) in asked.text
    assert _status_of(dead[0]) == Status.DLQ
    answer = _confirm(operator, asked)
    assert "Sent back 2 dead letters." in answer.text
    assert [_status_of(job) for job in dead] == [Status.PENDING, Status.PENDING, Status.DLQ]
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.tenant.slug) == ("user:olga", "redrive", "alice")
    assert set(entry.details["jobs"]) == {str(job.pk) for job in dead[:2]}


def test_discard_asks_then_deletes_and_is_on_record(operator: Client, dead: list[Job]) -> None:
    asked = _choose(operator, "discard", dead[:1])
    assert "This cannot be undone" in asked.text
    assert Job.objects.filter(pk=dead[0].pk).exists()
    _confirm(operator, asked)
    assert not Job.objects.filter(pk=dead[0].pk).exists()
    assert not Attempt.objects.filter(job_id=dead[0].pk).exists()
    assert AuditEntry.objects.get().action == "discard"


def test_each_tenant_has_its_part_on_its_record(
    operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    jobs = [make_job(tenant, Status.DLQ) for tenant in (alice, mallory, alice)]
    _confirm(operator, _choose(operator, "redrive", jobs))
    entries = AuditEntry.objects.order_by("tenant__slug").values_list("tenant__slug", "details")
    assert [(slug, len(details["jobs"])) for slug, details in entries] == [
        ("alice", 2),
        ("mallory", 1),
    ]


def test_a_single_one_is_asked_about_from_its_page(operator: Client, dead: list[Job]) -> None:
    page = operator.get(f"{LIST}{dead[0].pk}/change/")
    address = f"{LIST}confirm/redrive/?ids={dead[0].pk}"
    assert address in page.text
    _confirm(operator, operator.get(address))
    assert _status_of(dead[0]) == Status.PENDING


def test_all_that_match_are_chosen_up_to_a_bound(
    operator: Client, dead: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeadLetterAdmin, "most_at_once", 2)
    asked = _choose(operator, "redrive", dead[:1], select_across="1")
    assert "Redrive 2 dead letters?" in asked.text
    assert "At least 1 more match" in asked.text
    answer = _confirm(operator, asked)
    assert "1 more matched and remain" in answer.text
    assert DeadLetter.objects.count() == 1


def test_no_more_than_the_bound_can_be_sent(
    operator: Client, dead: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeadLetterAdmin, "most_at_once", 2)
    ids = ",".join(str(job.pk) for job in dead)
    assert operator.post(f"{LIST}confirm/redrive/", {"ids": ids}).status_code == 400


def test_all_that_match_follow_the_filters(
    operator: Client, dead: list[Job], mallory: Tenant
) -> None:
    other = make_job(mallory, Status.DLQ)
    asked = _choose(operator, "redrive", [other], "?tenant=mallory", select_across="1")
    assert "Redrive 1 dead letter?" in asked.text
    answer = _confirm(operator, asked)
    assert answer.redirect_chain == [(f"{LIST}?tenant=mallory", 302)]
    assert DeadLetter.objects.count() == len(dead)


def test_what_is_confirmed_is_what_was_shown(
    operator: Client, alice: Tenant, dead: list[Job]
) -> None:
    asked = _choose(operator, "discard", dead[:1], select_across="1")
    late = make_job(alice, Status.DLQ)
    _confirm(operator, asked)
    assert [job.pk for job in DeadLetter.objects.all()] == [late.pk]


def test_what_others_changed_meanwhile_is_left_alone(operator: Client, dead: list[Job]) -> None:
    asked = _choose(operator, "redrive", dead[:2])
    services.redrive([dead[0].pk], actor="user:else", tenant=None)
    answer = _confirm(operator, asked)
    assert "Sent back 1 dead letter." in answer.text
    assert "Left alone: 1" in answer.text


def test_only_dead_letters_can_be_acted_on(operator: Client, alice: Tenant) -> None:
    waiting = make_job(alice)
    operator.post(f"{LIST}confirm/discard/", {"ids": str(waiting.pk)})
    assert _status_of(waiting) == Status.PENDING
    assert "Nothing is left to do" in operator.get(f"{LIST}confirm/discard/?ids={waiting.pk}").text


def test_many_are_done_in_parts(
    operator: Client, dead: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.admin.dead_letters.AT_ONCE", 2)
    answer = _confirm(operator, _choose(operator, "redrive", dead))
    assert "Sent back 3 dead letters." in answer.text
    assert AuditEntry.objects.count() == 2


@pytest.mark.parametrize("action", ["redrive", "discard"])
def test_who_may_only_look_cannot_act(
    staff: Callable[..., Client], dead: list[Job], action: str
) -> None:
    client = staff("view_job")
    assert "redrive" not in client.get(LIST).text
    assert "confirm" not in client.get(f"{LIST}{dead[0].pk}/change/").text
    assert client.get(f"{LIST}confirm/{action}/?ids={dead[0].pk}").status_code == 403
    assert client.post(f"{LIST}confirm/{action}/", {"ids": str(dead[0].pk)}).status_code == 403
    _choose(client, action, dead)
    assert DeadLetter.objects.count() == len(dead)


def test_who_may_operate_needs_no_more_than_that(
    staff: Callable[..., Client], dead: list[Job]
) -> None:
    client = staff("view_job", "operate_job")
    _confirm(client, _choose(client, "redrive", dead))
    assert AuditEntry.objects.get().actor == "user:sam"


def test_no_ids_and_no_actions_of_someones_invention(operator: Client, db: None) -> None:
    assert operator.get(f"{LIST}confirm/redrive/?ids=1%27--").status_code == 400
    assert operator.get(f"{LIST}confirm/pay/?ids=").status_code == 404


def _choose(
    client: Client, action: str, jobs: Sequence[Job], filters: str = "", **more: str
) -> Any:
    selected = [str(job.pk) for job in jobs]
    form = {"action": action, "_selected_action": selected, "index": "0", **more}
    return client.post(f"{LIST}{filters}", form)


def _confirm(client: Client, asked: Any) -> Any:
    form = {name: asked.context[name] for name in ("ids", "left", "back")}
    return client.post(asked.context["action"], form, follow=True)


def _listed(client: Client, filters: str = "") -> list[Any]:
    return [row.pk for row in client.get(f"{LIST}{filters}").context["cl"].result_list]


def _status_of(job: Job) -> str:
    return Job.objects.values_list("status", flat=True).get(pk=job.pk)
