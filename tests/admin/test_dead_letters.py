"""Dead letters are grouped, decided about behind a question, and every decision is on record."""

import math
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from jobs import operations, services
from jobs.admin.dead_letters import DeadLetterAdmin
from jobs.conf import conf
from jobs.models import Attempt, AuditEntry, DeadLetter, Job, Operation, Tenant
from jobs.statuses import BulkAction, Reason, Status
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
    found = [one.group for one in groups]
    assert [(g.error_type, g.task, g.total, g.message) for g in found] == [
        ("ValueError", "echo", 2, "no such thing"),
        ("Timeout", "fetch", 1, "took 9 s"),
    ]
    assert found[0].first_at < found[0].last_at


def test_a_group_leads_to_its_dead_letters(operator: Client, dead: list[Job]) -> None:
    groups = operator.get(LIST).context["groups"]
    rows = operator.get(groups[1].link).context["jobs"]["page"].rows
    assert [job.pk for job in rows] == [dead[2].pk]


@pytest.mark.parametrize("may_read", [True, False])
def test_groups_are_those_of_the_dashboard(
    staff: Callable[..., Client], alice: Tenant, may_read: bool
) -> None:
    permissions = ["view_job", "operate_job", *(["view_payload"] if may_read else [])]
    for message in ("order 1 is gone", "order 2 is gone", "no answer", ""):
        make_job(alice, Status.DLQ, error_type="E", error_message=message)
    client = staff(*permissions)
    here = client.get(LIST).context["groups"]
    there = client.get(reverse("dead")).context["dead"]["groups"].largest
    assert [vars(one.group) for one in here] == [vars(group) for group, _ in there]
    assert len(here) == (3 if may_read else 1)
    for one in here:
        asked = client.get(one.whole.discard).context["count"]
        assert str(asked) == str(one.group.total)


def test_groups_follow_the_filters(operator: Client, dead: list[Job], mallory: Tenant) -> None:
    make_job(mallory, Status.DLQ, error_type="Other")
    groups = operator.get(f"{LIST}?tenant=mallory").context["groups"]
    assert [one.group.error_type for one in groups] == ["Other"]


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


def test_redrive_asks_then_acts_in_the_background_and_is_on_record(
    operator: Client, alice: Tenant, dead: list[Job]
) -> None:
    asked = _choose(operator, "redrive", dead[:2])
    assert "Redrive 2 dead letters?" in asked.text
    assert str(dead[0].pk) in asked.text
    assert not Operation.objects.exists()
    begun = _confirm(operator, asked)
    operation = Operation.objects.get()
    assert begun.redirect_chain == [(reverse("operation", args=[operation.pk]), 302)]
    assert f'href="{LIST}"' in begun.text
    assert _status_of(dead[0]) == Status.DLQ
    _carry_out()
    assert [_status_of(job) for job in dead] == [Status.PENDING, Status.PENDING, Status.DLQ]
    entries = AuditEntry.objects.order_by("pk")
    assert [
        (entry.actor, entry.action, entry.tenant, entry.details["count"]) for entry in entries
    ] == [
        ("user:olga", "start_operation", alice, 2),
        ("user:olga", "end_operation", alice, 2),
    ]


def test_discard_asks_then_deletes_and_is_on_record(operator: Client, dead: list[Job]) -> None:
    asked = _choose(operator, "discard", dead[:1])
    assert "This cannot be undone" in asked.text
    assert Job.objects.filter(pk=dead[0].pk).exists()
    _confirm(operator, asked)
    _carry_out()
    assert not Job.objects.filter(pk=dead[0].pk).exists()
    assert not Attempt.objects.filter(job_id=dead[0].pk).exists()
    assert AuditEntry.objects.latest("pk").target.startswith("discard ")


def test_the_chosen_go_back_at_a_pace_and_can_be_called_off(
    operator: Client, dead: list[Job]
) -> None:
    _confirm(operator, _choose(operator, "redrive", dead), rate_per_second="0.5")
    operation = Operation.objects.get()
    assert operation.rate_per_second == 0.5
    operations.step("a worker")
    operator.post(reverse("cancel-operation", args=[operation.pk]))
    assert operations.step("a worker") == math.inf
    assert DeadLetter.objects.count() == 2


@pytest.mark.parametrize("pace", ["0", "-1", "fast", "nan", "1e9"])
def test_an_impossible_pace_is_asked_about_again(
    operator: Client, dead: list[Job], pace: str
) -> None:
    asked = _confirm(operator, _choose(operator, "redrive", dead[:2]), rate_per_second=pace)
    assert asked.status_code == 400
    assert asked.context["form"].errors.keys() == {"rate_per_second"}
    assert asked.context["ids"].count(",") == 1
    assert not Operation.objects.exists()


def test_letters_of_several_tenants_are_one_operation_on_the_record_of_each(
    operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    jobs = [make_job(tenant, Status.DLQ) for tenant in (alice, mallory, alice)]
    make_job(mallory, Status.DLQ)
    _confirm(operator, _choose(operator, "redrive", jobs))
    assert Operation.objects.get().tenant is None
    _carry_out()
    assert {_status_of(job) for job in jobs} == {Status.PENDING}
    assert DeadLetter.objects.count() == 1
    entries = AuditEntry.objects.exclude(tenant=None).order_by("tenant__slug")
    assert [(e.tenant, e.action, e.details["count"]) for e in entries] == [
        (alice, "start_operation", 2),
        (mallory, "start_operation", 1),
    ]


def test_a_single_one_is_asked_about_from_its_page(operator: Client, dead: list[Job]) -> None:
    page = operator.get(f"{LIST}{dead[0].pk}/change/")
    address = f"{LIST}confirm/redrive/?ids={dead[0].pk}"
    assert address in page.text
    _confirm(operator, operator.get(address))
    _carry_out()
    assert _status_of(dead[0]) == Status.PENDING


def test_all_that_match_are_asked_about_as_one_filter(
    operator: Client, dead: list[Job], mallory: Tenant
) -> None:
    other = make_job(mallory, Status.DLQ)
    asked = _choose(operator, "redrive", [other], "?tenant=mallory", select_across="1")
    question = operator.get(asked.headers["Location"])
    assert str(question.context["count"]) == "1"
    assert question.context["tenant"] == mallory


def test_all_that_a_search_found_are_chosen_up_to_a_bound(
    operator: Client, dead: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeadLetterAdmin, "most_at_once", 1)
    asked = _choose(operator, "redrive", dead[:1], "?q=echo", select_across="1")
    assert "Redrive 1 dead letter?" in asked.text
    assert "At least 1 more match" in asked.text
    assert "1 more matched and remain" in _confirm(operator, asked).text
    _carry_out()
    assert DeadLetter.objects.count() == 2


def test_no_more_than_the_bound_can_be_sent(
    operator: Client, dead: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeadLetterAdmin, "most_at_once", 2)
    ids = ",".join(str(job.pk) for job in dead)
    assert operator.post(f"{LIST}confirm/redrive/", {"ids": ids}).status_code == 400


def test_as_many_as_the_bound_can_be_sent(operator: Client, dead: list[Job]) -> None:
    strangers = [str(uuid.uuid4()) for _ in range(DeadLetterAdmin.most_at_once - 1)]
    ids = ",".join([str(dead[0].pk), *strangers])
    operator.post(f"{LIST}confirm/redrive/", {"ids": ids})
    assert Operation.objects.get().expected == 1


def test_what_is_confirmed_is_what_was_shown(
    operator: Client, alice: Tenant, dead: list[Job]
) -> None:
    asked = _choose(operator, "discard", dead[:1], "?q=echo", select_across="1")
    late = make_job(alice, Status.DLQ)
    _confirm(operator, asked)
    _carry_out()
    assert {job.pk for job in DeadLetter.objects.all()} == {dead[2].pk, late.pk}


def test_what_others_changed_meanwhile_is_left_alone(operator: Client, dead: list[Job]) -> None:
    asked = _choose(operator, "redrive", dead[:2])
    services.redrive([dead[0].pk], actor="user:else", tenant=dead[0].tenant)
    _confirm(operator, asked)
    assert Operation.objects.get().expected == 1


def test_only_dead_letters_can_be_acted_on(operator: Client, alice: Tenant) -> None:
    waiting = make_job(alice)
    answer = operator.post(f"{LIST}confirm/discard/", {"ids": str(waiting.pk)}, follow=True)
    assert "Nothing was left to do" in answer.text
    assert not Operation.objects.exists()
    assert "Nothing is left to do" in operator.get(f"{LIST}confirm/discard/?ids={waiting.pk}").text


def test_no_more_operations_begin_than_may_run(
    operator: Client, alice: Tenant, dead: list[Job]
) -> None:
    for _ in range(conf().max_operations_per_tenant):
        operations.start(alice, BulkAction.REDRIVE, "queue:none", actor="user:else")
    answer = _confirm(operator, _choose(operator, "redrive", dead))
    assert "operations are running" in answer.text
    assert answer.redirect_chain == [(LIST, 302)]


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


def test_who_may_not_see_jobs_is_not_asked_about_them(
    staff: Callable[..., Client], dead: list[Job]
) -> None:
    client = staff("operate_job", "view_payload")
    assert client.get(f"{LIST}confirm/discard/?ids={dead[0].pk}").status_code == 403
    assert client.post(f"{LIST}confirm/discard/", {"ids": str(dead[0].pk)}).status_code == 403


def test_who_may_only_look_is_offered_nothing_else(
    staff: Callable[..., Client], dead: list[Job]
) -> None:
    page = staff("view_job").get(LIST).text
    for offered in ("select_across", "operations/new", "export", "All that match"):
        assert offered not in page


def test_who_may_operate_needs_no_more_than_that(
    staff: Callable[..., Client], dead: list[Job]
) -> None:
    client = staff("view_job", "operate_job")
    _confirm(client, _choose(client, "redrive", dead))
    _carry_out()
    assert not DeadLetter.objects.exists()
    assert {entry.actor for entry in AuditEntry.objects.all()} == {"user:sam"}


def test_no_ids_and_no_actions_of_someones_invention(operator: Client, db: None) -> None:
    assert operator.get(f"{LIST}confirm/redrive/?ids=1%27--").status_code == 400
    assert operator.get(f"{LIST}confirm/pay/?ids=").status_code == 404


def _choose(
    client: Client, action: str, jobs: Sequence[Job], filters: str = "", **more: str
) -> Any:
    selected = [str(job.pk) for job in jobs]
    form = {"action": action, "_selected_action": selected, "index": "0", **more}
    return client.post(f"{LIST}{filters}", form)


def _confirm(client: Client, asked: Any, **more: str) -> Any:
    form = {name: asked.context[name] for name in ("ids", "left", "back")} | more
    return client.post(asked.context["action"], form, follow=True)


def _carry_out() -> None:
    while operations.step("a worker") < math.inf:
        pass


def _listed(client: Client, filters: str = "") -> list[Any]:
    return [row.pk for row in client.get(f"{LIST}{filters}").context["cl"].result_list]


def _status_of(job: Job) -> str:
    return Job.objects.values_list("status", flat=True).get(pk=job.pk)
