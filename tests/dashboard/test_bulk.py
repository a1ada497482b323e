"""Bulk actions from the pages: asked about with a count, begun, watched, cancelled."""

import re
import uuid
from collections.abc import Callable
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from dashboard.snapshot import changed_regions, read_snapshot
from jobs import operations
from jobs.models import AuditEntry, Job, Operation, Tenant
from jobs.statuses import BulkAction, Status
from tests.factories import make_job

START = "start-operation"
FIELDS = ("action", "filter", "as_of")


def question(client: Client, action: str, text: str, **more: str):  # type: ignore[no-untyped-def]
    return client.get(reverse(START), {"action": action, "filter": text, **more})


def answer(client: Client, asked, tenant: str = "", **more: str):  # type: ignore[no-untyped-def]
    """Say yes to the question that a page asked."""
    given = {name: asked.context["form"][name].value() for name in FIELDS} | more
    query = f"?tenant={tenant}" if tenant else ""
    return client.post(reverse(START) + query, given, follow=True)


def carry_out() -> None:
    """What workers do until no operation runs."""
    while operations.step("w") == 0:
        pass


@pytest.mark.parametrize(
    ("action", "statuses", "result"),
    [
        ("cancel", (Status.PENDING, Status.FAILED, Status.SCHEDULED), Status.CANCELLED),
        ("retry", (Status.FAILED,), Status.PENDING),
        ("redrive", (Status.DLQ,), Status.PENDING),
        ("discard", (Status.DLQ,), None),
    ],
)
def test_all_that_match_are_acted_on_after_the_question(
    ann: Client, alice: Tenant, action: str, statuses: tuple[Status, ...], result: Status | None
) -> None:
    wanted = [make_job(alice, s, queue=s.lower(), tags=("vip",)) for s in statuses]
    done = make_job(alice, Status.DONE, queue="q", tags=("vip",))
    other = make_job(alice, statuses[0], queue="other")

    asked = question(ann, action, "tag:vip")
    assert str(asked.context["count"]) == str(len(wanted))
    assert f"Yes, {action} {len(wanted)}" in asked.text
    assert all(str(job.pk) in asked.text for job in wanted)
    assert not Operation.objects.exists()

    page = answer(ann, asked)
    assert page.redirect_chain[-1][0] == reverse("operation", args=[Operation.objects.get().pk])
    carry_out()

    left = {job.pk: job.status for job in Job.objects.all()}
    assert [left.pop(job.pk, None) for job in wanted] == [result] * len(wanted)
    assert left == {done.pk: Status.DONE, other.pk: statuses[0]}
    assert {entry.actor for entry in AuditEntry.objects.all()} == {"user:ann"}
    assert f"{len(wanted)} of {len(wanted)}" in ann.get(page.redirect_chain[-1][0]).text


@pytest.mark.parametrize("action", ["redrive", "discard"])
def test_what_dies_while_the_question_is_read_is_left_alone(
    ann: Client, alice: Tenant, action: str
) -> None:
    make_job(alice, Status.DLQ)
    asked = question(ann, action, "queue:default")
    late = make_job(alice, Status.DLQ)

    answer(ann, asked)
    carry_out()

    assert Job.objects.get(status=Status.DLQ) == late


def test_what_comes_while_the_question_is_read_is_not_cancelled(ann: Client, alice: Tenant) -> None:
    make_job(alice)
    asked = question(ann, "cancel", "queue:default")
    late = make_job(alice)

    answer(ann, asked)
    carry_out()

    assert Job.objects.get(status=Status.PENDING) == late


@pytest.mark.parametrize(
    "text", [" ".join(f"-tag:t{n}" for n in range(30)), f"-queue:{'q' * 128} " + "x" * 864]
)
def test_the_longest_filter_can_be_acted_on(ann: Client, alice: Tenant, text: str) -> None:
    make_job(alice)
    assert ann.get(reverse("jobs"), {"filter": text}).context["asked"].error == ""
    page = answer(ann, question(ann, "cancel", text))
    assert page.status_code == 200
    assert Operation.objects.get().filter.startswith(f"{text} created:<=")
    carry_out()
    assert Operation.objects.get().state == "DONE"


def test_a_question_of_no_time_is_refused(ann: Client, alice: Tenant) -> None:
    given = {"action": "cancel", "filter": "queue:default", "as_of": "yesterday"}
    assert ann.post(reverse(START), given).status_code == 400
    assert not Operation.objects.exists()


def test_a_pace_is_kept_and_shown(ann: Client, alice: Tenant) -> None:
    make_job(alice, Status.DLQ)

    page = answer(ann, question(ann, "redrive", "queue:default"), rate_per_second="2.5")

    assert Operation.objects.get().rate_per_second == 2.5
    assert "2.5 a second" in page.text


@pytest.mark.parametrize("pace", ["0", "-1", "nan", "1e9", "fast"])
def test_a_wrong_pace_is_told_and_the_question_stays(ann: Client, alice: Tenant, pace: str) -> None:
    make_job(alice, Status.DLQ)
    asked = question(ann, "discard", "queue:default")

    again = answer(ann, asked, rate_per_second=pace)

    assert again.status_code == 400
    assert 'role="alert"' in again.text
    assert again.context["form"]["filter"].value() == asked.context["form"]["filter"].value()
    assert "Yes, discard 1" in again.text
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    ("action", "text", "says"),
    [
        ("discard", "", "No filter."),
        ("discard", "quue:x", "did you mean queue?"),
        ("explode", "queue:x", "explode"),
        ("discard", "x" * 1_001, "may have 1000 characters"),
    ],
)
def test_a_question_without_sense_says_what_is_wrong(
    ann: Client, alice: Tenant, action: str, text: str, says: str
) -> None:
    for page in (
        question(ann, action, text),
        ann.post(reverse(START), {"action": action, "filter": text}),
    ):
        assert page.status_code == 400
        assert says in page.text
        assert not Operation.objects.exists()


def test_nothing_to_act_on_is_said_instead_of_asked(ann: Client, alice: Tenant) -> None:
    page = question(ann, "cancel", "queue:none").text

    assert "nothing matches" in page
    assert "Yes, cancel" not in page


def test_too_many_operations_are_refused_on_the_page(
    ann: Client, alice: Tenant, settings: pytest.FixtureRequest
) -> None:
    settings.JOBQUEUE = {"max_operations_per_tenant": 1}  # type: ignore[attr-defined]
    make_job(alice)
    asked = question(ann, "cancel", "queue:default")

    answer(ann, asked, rate_per_second="0.01")
    page = answer(ann, asked)

    assert page.status_code == 400
    assert "operations are running" in page.text
    assert Operation.objects.count() == 1


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("", set()),
        ("queue:default", {"cancel", "retry", "redrive", "discard"}),
        ("status:DLQ", {"redrive", "discard"}),
        ("status:FAILED", {"cancel", "retry"}),
        ("status:PENDING", {"cancel"}),
        ("status:DONE", set()),
    ],
)
def test_the_list_offers_what_the_statuses_allow(
    ann: Client, alice: Tenant, text: str, offered: set[str]
) -> None:
    for status in (Status.DLQ, Status.FAILED, Status.DONE, Status.PENDING):
        make_job(alice, status)

    page = ann.get(reverse("jobs"), {"filter": text}).text

    assert {action for action in BulkAction if f"action={action}" in page} == offered


def test_an_operation_is_cancelled_once(ann: Client, alice: Tenant) -> None:
    make_job(alice)
    answer(ann, question(ann, "cancel", "queue:default"), rate_per_second="1")
    url = reverse("cancel-operation", args=[Operation.objects.get().pk])

    assert "acts on no more jobs" in ann.post(url, follow=True).text
    carry_out()
    page = ann.get(reverse("operations")).text

    assert Job.objects.get().status == Status.PENDING
    assert "cancelled" in page
    assert ann.get(url).status_code == 405


def test_what_a_cancelled_operation_has_left_is_asked_about_from_its_page(
    ann: Client, viewer: Client, alice: Tenant
) -> None:
    make_job(alice, Status.DLQ, queue="q1")
    answer(ann, question(ann, "redrive", 'queue:q1 error:"no such"'), rate_per_second="1")
    begun = Operation.objects.get()
    page = reverse("operation", args=[begun.pk])
    assert "the rest…" not in ann.get(page).text
    ann.post(reverse("cancel-operation", args=[begun.pk]))

    (link,) = re.findall(r'href="([^"]+)">Redrive the rest…', ann.get(page).text)

    asked = ann.get(unescape(link))
    assert asked.status_code == 200
    assert asked.context["form"].asked[1].startswith('queue:q1 error:"no such"')
    assert "the rest…" not in viewer.get(page).text


def test_an_operation_that_has_ended_cannot_be_cancelled(ann: Client, alice: Tenant) -> None:
    make_job(alice)
    answer(ann, question(ann, "cancel", "queue:default"))
    carry_out()
    operation = Operation.objects.get()

    page = ann.post(reverse("cancel-operation", args=[operation.pk]), follow=True).text

    assert "has ended" in page
    assert reverse("cancel-operation", args=[operation.pk]) not in page


def test_nobody_sees_or_moves_the_operations_of_a_stranger(
    ann: Client, stranger: Client, alice: Tenant
) -> None:
    job = make_job(alice, queue="alices-queue")
    answer(ann, question(ann, "cancel", "queue:alices-queue"), rate_per_second="1")
    operation = Operation.objects.get()

    assert "alices-queue" not in stranger.get(reverse("operations")).text
    for pk in (operation.pk, uuid.uuid4()):
        assert stranger.get(reverse("operation", args=[pk])).status_code == 404
        assert stranger.post(reverse("cancel-operation", args=[pk])).status_code == 404
    narrowed = stranger.get(
        reverse(START), {"action": "cancel", "filter": "queue:x", "tenant": "alice"}
    )
    assert narrowed.status_code == 404
    assert str(question(stranger, "cancel", f"id:{job.pk}").context["count"]) == "0"


def test_an_onlooker_watches_and_begins_nothing(
    onlooker: Client, ann: Client, alice: Tenant
) -> None:
    make_job(alice)
    answer(ann, question(ann, "cancel", "queue:default"), rate_per_second="1")
    operation = Operation.objects.get()

    assert question(onlooker, "cancel", "queue:default").status_code == 403
    assert (
        onlooker.post(reverse(START), {"action": "cancel", "filter": "queue:x"}).status_code == 403
    )
    assert onlooker.post(reverse("cancel-operation", args=[operation.pk])).status_code == 403
    page = onlooker.get(reverse("operation", args=[operation.pk]))
    assert page.status_code == 200
    assert reverse("cancel-operation", args=[operation.pk]) not in page.text
    assert "action=cancel" not in onlooker.get(reverse("jobs"), {"filter": "queue:default"}).text


def test_an_operator_acts_for_all_tenants_or_for_one(
    operator: Client, ann: Client, alice: Tenant, mallory: Tenant
) -> None:
    for tenant in (alice, mallory):
        make_job(tenant)

    narrowed = question(operator, "cancel", "queue:default", tenant="alice")
    assert str(narrowed.context["count"]) == "1"
    everybody = question(operator, "cancel", "queue:default")
    assert str(everybody.context["count"]) == "2"
    assert "Jobs of all tenants" in everybody.text

    answer(operator, everybody)
    carry_out()
    assert {job.status for job in Job.objects.all()} == {Status.CANCELLED}
    operation = Operation.objects.get()
    assert operation.tenant is None
    assert operator.get(reverse("operation", args=[operation.pk])).status_code == 200
    assert ann.get(reverse("operation", args=[operation.pk])).status_code == 404


def test_who_is_in_several_tenants_chooses_one_first(
    log_in: Callable[..., Client], make_tenant: Callable[..., Tenant]
) -> None:
    mine = [make_tenant("one"), make_tenant("two")]
    client = log_in("maria", *mine)
    make_job(mine[0])

    assert question(client, "cancel", "queue:default").status_code == 400
    assert "action=cancel" not in client.get(reverse("jobs"), {"filter": "queue:default"}).text
    asked = question(client, "cancel", "queue:default", tenant="one")
    assert answer(client, asked, tenant="one").status_code == 200
    assert Operation.objects.get().tenant == mine[0]


def test_open_pages_hear_of_each_step(ann: Client, alice: Tenant) -> None:
    for _ in range(3):
        make_job(alice)
    asked = question(ann, "cancel", "queue:default")

    def changes(act: Callable[[], object]) -> set[str]:
        before = read_snapshot([alice.pk])
        act()
        return set(changed_regions(before, read_snapshot([alice.pk])))

    assert {"operations", "operation"} <= changes(lambda: answer(ann, asked))
    Operation.objects.update(matched=1)
    assert changes(lambda: Operation.objects.update(matched=2)) == {"operations", "operation"}
    assert {"operations", "operation"} <= changes(carry_out)


def test_a_list_of_operations_that_is_cut_says_so(
    ann: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        operations.start(alice, BulkAction.DISCARD, "queue:none", actor="user:ann")
    assert "The newest" not in ann.get(reverse("operations")).text

    monkeypatch.setattr("dashboard.queries.operations.LISTED", 2)

    assert "The newest 2." in ann.get(reverse("operations")).text
