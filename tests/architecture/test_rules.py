"""The rules hold everywhere, and each of them would notice if it did not."""

import statistics

import pytest

from tests.architecture import rules
from tests.architecture.rules import RULES, Rule, Source, project_sources

BROKEN: list[tuple[Rule, str, str]] = [
    (rules.imports_follow_the_arrow, "jobs/x.py", "import workers.pool"),
    (rules.imports_follow_the_arrow, "jobs/x.py", "from dashboard import views"),
    (rules.imports_follow_the_arrow, "workers/x.py", "from dashboard.views import overview"),
    (rules.imports_follow_the_arrow, "dashboard/x.py", "import workers"),
    (rules.imports_follow_the_arrow, "dashboard/x.py", "from demo.tasks import checksum"),
    (rules.imports_follow_the_arrow, "demo/x.py", "import workers.pool"),
    (rules.imports_follow_the_arrow, "jobs/x.py", "import_module('workers.pool')"),
    (rules.imports_follow_the_arrow, "jobs/x.py", "def f():\n    from tests import harness"),
    (rules.the_domain_knows_no_api, "jobs/x.py", "from jobs.api import schema"),
    (rules.the_domain_knows_no_api, "jobs/admin/x.py", "from rest_framework.views import APIView"),
    (rules.imports_stand_at_the_top, "jobs/x.py", "def f():\n    import json"),
    (rules.imports_stand_at_the_top, "jobs/x.py", "def ready():\n    import json"),
    (rules.imports_stand_at_the_top, "jobs/apps.py", "async def f():\n    from os import path"),
    (rules.only_the_store_writes_jobs, "jobs/x.py", "Job.objects.filter(pk=1).update(status='')"),
    (rules.only_the_store_writes_jobs, "jobs/x.py", "Job.objects.create()"),
    (rules.only_the_store_writes_jobs, "workers/x.py", "job.save(update_fields=[])"),
    (rules.only_the_store_writes_jobs, "dashboard/x.py", "jobs_of_tenant(t).delete()"),
    (rules.only_the_store_writes_jobs, "jobs/x.py", "Attempt(job=job)"),
    (rules.only_the_store_writes_jobs, "jobs/x.py", "Model.objects.bulk_create([Job()])"),
    (rules.only_the_store_writes_jobs, "workers/x.py", "sql = 'UPDATE jobs_job SET status = 1'"),
    (rules.only_the_store_writes_jobs, "jobs/x.py", "f'DELETE FROM jobs_laneminute {where}'"),
    (rules.only_the_store_writes_jobs, "jobs/x.py", "q('insert into \"jobs_attempt\" (a)')"),
    (rules.sql_stays_with_its_owners, "workers/x.py", "q('SELECT id\\nFROM jobs_job')"),
    (rules.sql_stays_with_its_owners, "dashboard/views.py", "q('DELETE FROM jobs_worker ')"),
    (rules.time_is_the_databases, "jobs/store/x.py", "until = time.time() + 5"),
    (rules.time_is_the_databases, "jobs/store/x.py", "now = datetime.datetime.now(UTC)"),
    (rules.time_is_the_databases, "jobs/services.py", "now = timezone.now()"),
    (rules.files_are_short, "jobs/x.py", "x = 1\n" * 401),
    (rules.functions_are_short, "jobs/x.py", "def f():\n" + "    x = 1\n" * 60),
    (rules.names_say_something, "jobs/utils.py", ""),
    (rules.names_say_something, "workers/common/x.py", ""),
    (rules.public_things_are_documented, "jobs/x.py", "x = 1"),
    (rules.public_things_are_documented, "jobs/x.py", "'''Doc.'''\ndef f(): ..."),
    (rules.public_things_are_documented, "jobs/x.py", "'''Doc.'''\nclass A:\n    x = 1"),
    (
        rules.public_things_are_documented,
        "jobs/x.py",
        "'''Doc.'''\nclass A:\n    '''Doc.'''\n    def f(self): ...",
    ),
]

SOUND: list[tuple[Rule, str, str]] = [
    (rules.imports_follow_the_arrow, "workers/x.py", "from jobs import store"),
    (rules.the_domain_knows_no_api, "jobs/api/x.py", "from jobs.api import schema"),
    (rules.imports_follow_the_arrow, "jobqueue_project/x.py", "include('dashboard.urls')"),
    (
        rules.imports_stand_at_the_top,
        "jobs/apps.py",
        "def ready(self):\n    from jobs import checks",
    ),
    (rules.only_the_store_writes_jobs, "jobs/store/x.py", "Job.objects.all().delete()"),
    (rules.only_the_store_writes_jobs, "jobs/x.py", "Lane.objects.filter().update(is_paused=True)"),
    (rules.only_the_store_writes_jobs, "jobs/x.py", "row.update(job=1)"),
    (rules.sql_stays_with_its_owners, "dashboard/queries.py", "q('SELECT 1 FROM jobs_job')"),
    (rules.sql_stays_with_its_owners, "jobs/x.py", "'''SELECT ids FROM a table is not ours.'''"),
    (rules.time_is_the_databases, "jobs/store/x.py", "time.monotonic()"),
    (rules.public_things_are_documented, "jobs/x.py", "'''Doc.'''\ndef _f(): ..."),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule: Rule) -> None:
    complaints = {source.path: rule(source) for source in project_sources()}
    assert not {path: found for path, found in complaints.items() if found}


@pytest.mark.parametrize("rule", [rules.files_are_short, rules.names_say_something])
def test_rule_holds_for_tests_too(rule: Rule) -> None:
    complaints = {source.path: rule(source) for source in project_sources("tests")}
    assert not {path: found for path, found in complaints.items() if found}


def test_functions_are_short_as_a_rule() -> None:
    lengths = [
        rules.length_of(function)
        for source in project_sources()
        if not source.is_migration
        for function in source.functions()
    ]
    assert statistics.median(lengths) <= rules.MAX_MEDIAN_FUNCTION_LINES


def test_imports_have_no_cycle() -> None:
    assert _cycle({s.module: _imported_modules(s) for s in project_sources()}) == []


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_rule_notices(rule: Rule, path: str, text: str) -> None:
    assert rule(Source(path, text))


@pytest.mark.parametrize(("rule", "path", "text"), SOUND)
def test_rule_lets_pass(rule: Rule, path: str, text: str) -> None:
    assert rule(Source(path, text)) == []


def test_every_rule_is_tried() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_cycle_is_noticed() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert _cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def _imported_modules(source: Source) -> set[str]:
    """The project's modules that a file imports, itself and its own package left out."""
    modules = {s.module for s in project_sources()}
    reached = {name for name, _ in rules.imported_names(source) if name in modules}
    packages = {name for name in reached if any(r.startswith(f"{name}.") for r in reached)}
    return reached - packages - {source.module}


def _cycle(edges: dict[str, set[str]]) -> list[str]:
    """Some cycle, as the path that closes; empty if there is none."""
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        for target in sorted(edges.get(node, ())):
            if found := visit(target, [*path, node]):
                return found
        finished.add(node)
        return []

    return next(filter(None, (visit(node, []) for node in sorted(edges))), [])
