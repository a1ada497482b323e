"""The look for workers over REST stays small on PostgreSQL, whatever else there is."""

import pytest
from django.db import transaction
from pytest_django import DjangoDbBlocker

from jobs.models import Tenant
from jobs.store.dialect import is_postgresql
from jobs.store.offers import offers
from tests.store.steps import submit
from tests.store.test_query_plans import explain, fill, ways

MOST = 50


@pytest.mark.parametrize("early", [True, False], ids=["stale", "good"])
def test_ready_jobs_are_counted_in_their_index(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, early: bool
) -> None:
    with django_db_blocker.unblock():
        if not is_postgresql():
            pytest.skip("plans of PostgreSQL")
        with transaction.atomic():
            own = Tenant.objects.create(slug="own", max_running=5)
            fill(Tenant.objects.create(slug="large"), analyze_early=early)
            submit(own, 3)
            assert [offer.jobs for offer in offers([own.pk], most=MOST)] == [3]
            nodes = explain(lambda: offers([own.pk], most=MOST))
            transaction.set_rollback(True)
    assert {index for _, index in ways(nodes)} == {"job_ready", "job_running"}
    (counted,) = [node for node in nodes if node.get("Index Name") == "job_ready"]
    assert "line_id" in counted["Index Cond"]
