"""The first page leads to what needs a decision, and the strict content policy holds everywhere."""

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from jobs.models import Tenant
from jobs.statuses import Status
from tests.factories import make_job

INLINE = re.compile(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=", re.IGNORECASE)


def test_dead_letters_come_first(operator: Client, db: None) -> None:
    app = operator.get("/admin/").context["app_list"][0]
    assert (app["app_label"], app["models"][0]["object_name"]) == ("jobs", "DeadLetter")


def test_the_first_page_counts_the_dead_letters(operator: Client, alice: Tenant) -> None:
    make_job(alice, Status.DLQ)
    page = " ".join(operator.get("/admin/").text.split())
    assert '<a href="/admin/jobs/deadletter/"><strong>1</strong> dead letter</a>' in page


def test_the_first_page_says_when_there_are_none(operator: Client, db: None) -> None:
    assert "No dead letters." in operator.get("/admin/").text


def test_who_may_not_see_jobs_sees_no_count(staff: Callable[..., Client]) -> None:
    page = staff("view_tenant").get("/admin/")
    assert "dead letter" not in page.text.lower()


def test_only_those_who_may_see_jobs_see_dead_letters_listed(staff: Callable[..., Client]) -> None:
    page = staff("view_job").get("/admin/")
    assert "/admin/jobs/deadletter/" in page.text


def test_the_admin_has_no_login_of_its_own(client: Client, db: None) -> None:
    for answer in (client.get("/admin/jobs/job/"), client.post("/admin/login/?next=/admin/jobs/")):
        while answer["Location"].startswith("/admin/"):
            answer = client.get(answer["Location"])
        assert answer["Location"].startswith(f"{reverse('login')}?next=/admin/jobs/")


def test_who_is_logged_in_and_no_staff_is_told_so(client: Client, db: None) -> None:
    client.force_login(User.objects.create_user("ann"))
    assert client.get("/admin/jobs/job/", follow=True).status_code == 403


def test_who_is_logged_in_already_is_let_in(operator: Client) -> None:
    assert operator.get("/admin/login/")["Location"] == "/admin/"


def test_pages_that_name_no_icon_have_one(client: Client) -> None:
    assert client.get("/favicon.ico")["Location"].endswith("dashboard/favicon.svg")


@pytest.mark.parametrize(
    "address",
    [
        "",
        *("deadletter/", "deadletter/{job}/change/", "deadletter/{job}/edit/"),
        "deadletter/confirm/redrive/?ids={job}",
        *("job/", "job/{job}/change/", "tenant/", "tenant/add/", "tenant/{tenant}/change/"),
        *("lane/", "lane/{lane}/change/", "apikey/", "apikey/add/", "worker/", "auditentry/"),
        *("tasklimit/", "tasklimit/add/"),
    ],
)
def test_pages_have_nothing_inline(operator: Client, alice: Tenant, address: str) -> None:
    job = make_job(alice, Status.DLQ)
    address = address.format(job=job.pk, tenant=alice.pk, lane=job.lane_id)
    page = operator.get(f"/admin/jobs/{address}")
    assert page.status_code == 200
    assert "default-src 'self'" in page["Content-Security-Policy"]
    assert INLINE.findall(page.text) == []


def test_the_admin_and_the_dashboard_lead_to_each_other(operator: Client, alice: Tenant) -> None:
    dead, done = make_job(alice, Status.DLQ), make_job(alice, Status.DONE)
    pairs = {
        f"/jobs/{dead.pk}/": f"/admin/jobs/deadletter/{dead.pk}/change/",
        f"/jobs/{done.pk}/": f"/admin/jobs/job/{done.pk}/change/",
        "/dead/": "/admin/jobs/deadletter/",
        "/tenants/alice/": f"/admin/jobs/tenant/{alice.pk}/change/",
    }

    for page, admin in pairs.items():
        assert f'href="{admin}"' in operator.get(page).text
        assert f'href="{page}"' in operator.get(admin).text
