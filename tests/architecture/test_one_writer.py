"""The watch over executed statements notices a writer other than the store."""

import pytest

from jobs.models import Job, Lane, Tenant
from jobs.services import submit
from jobs.submission import NewJob
from tests.architecture.rules import ROOT

pytestmark = pytest.mark.django_db


def run_as(module: str, statement: str) -> None:
    """Run the statement as if it stood in that module of the project."""
    exec(compile(statement, str(ROOT / module), "exec"), {"Job": Job, "Lane": Lane})


@pytest.mark.parametrize(
    "statement",
    [
        "Job.objects.update(priority=1)",
        "Job.objects.all().delete()",
        "[setattr(job, 'priority', 1) or job.save() for job in Job.objects.all()]",
    ],
)
@pytest.mark.parametrize("module", ["jobs/services.py", "workers/x.py", "dashboard/views.py"])
def test_other_writer_is_noticed(alice: Tenant, module: str, statement: str) -> None:
    submit(alice, NewJob(task="echo"))
    with pytest.raises(AssertionError, match="writes a table of the store"):
        run_as(module, statement)


def test_store_may_write_and_everybody_may_read(alice: Tenant) -> None:
    submit(alice, NewJob(task="echo"))
    run_as("jobs/store/x.py", "Job.objects.update(priority=1)")
    run_as("jobs/services.py", "Lane.objects.update(weight=2)")
    run_as("dashboard/views.py", "assert Job.objects.get().priority == 1")
