"""The rules of this codebase, executed. Each takes one source file and answers its complaints.

There is no list of exceptions: a rule that needs one is a wrong rule.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_MEDIAN_FUNCTION_LINES = 10

MAY_IMPORT = {
    "jobs": {"jobs"},
    "workers": {"workers", "jobs"},
    "dashboard": {"dashboard", "jobs"},
    "demo": {"demo", "jobs"},
    "jobqueue_project": {"jobqueue_project", "dashboard", "jobs"},
    "jobqueue_client": {"jobqueue_client"},
}
"""The import arrow: `jobqueue_project → dashboard → jobs ← workers`, nobody knows the demo, and
the client knows nobody."""

FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "base", "manager", "managers", "misc"}
ONLY_STORE_WRITES = {"Job", "Attempt", "JobTag", "LogLine"}
ONLY_STORE_WRITES |= {"LaneMinute", "LanePeriod", "WaitMinute"}
STORE_TABLES = "|".join(f"jobs_{model.lower()}" for model in sorted(ONLY_STORE_WRITES))
WRITES = {"save", "create", "get_or_create", "update_or_create", "update", "delete"}
WRITES |= {"bulk_create", "bulk_update"}
WRITES |= {f"a{name}" for name in WRITES}
WRITING_SQL = re.compile(rf"(INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+\W?({STORE_TABLES})\b", re.I)
ANY_SQL = re.compile(r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|DELETE\s+FROM|UPDATE\s+\w+\s+SET)\s", re.S)
WALL_CLOCKS = {"time.time", "datetime.now", "datetime.utcnow", "timezone.now", "date.today"}
IMPORTS_BY_NAME = {"import_module", "import_string", "find_spec", "include"}

Functions = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file: where it is, and what it says."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed text."""
        return ast.parse(self.text)

    @property
    def app(self) -> str:
        """The top-level package."""
        return self.path.split("/", maxsplit=1)[0]

    @property
    def module(self) -> str:
        """The dotted name."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def is_in(self, *places: str) -> bool:
        """Whether the path begins with one of these."""
        return self.path.startswith(places)

    @property
    def is_migration(self) -> bool:
        """Migrations are generated, and a record of the past."""
        return "/migrations/" in self.path

    def functions(self) -> list[Functions]:
        """Every function and method, nested ones too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, Functions)]

    def calls(self) -> Iterator[ast.Call]:
        """Every call."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))

    def strings(self) -> Iterator[ast.Constant]:
        """Every string constant but the docstrings; of an f-string, its constant parts."""
        documentation = set(map(id, _docstrings(self.tree)))
        for node in ast.walk(self.tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in documentation:
                yield node


Rule = Callable[[Source], list[str]]


@cache
def project_sources(*apps: str) -> list[Source]:
    """The Python files of these top-level packages, of all of ours by default."""
    return [
        Source(str(path.relative_to(ROOT)), path.read_text())
        for app in apps or MAY_IMPORT
        for path in sorted((ROOT / app).rglob("*.py"))
    ]


def imports_follow_the_arrow(source: Source) -> list[str]:
    """An app imports what the arrow allows, by statement or by name."""
    ours = set(MAY_IMPORT) | {"tests"}
    reached = {name.split(".")[0]: line for name, line in imported_names(source)}
    forbidden = (set(reached) & ours) - MAY_IMPORT[source.app]
    return [f"line {reached[app]}: {source.app} imports {app}" for app in sorted(forbidden)]


def the_domain_knows_no_api(source: Source) -> list[str]:
    """Within `jobs` only the API imports the API: else each worker carries its framework."""
    if not source.is_in("jobs/") or source.is_in("jobs/api/"):
        return []
    return [
        f"line {line}: imports {name}"
        for name, line in imported_names(source)
        if name.startswith(("jobs.api", "rest_framework"))
    ]


def imports_stand_at_the_top(source: Source) -> list[str]:
    """No import inside a function, but in `AppConfig.ready`, which Django made for it."""
    return [
        f"line {node.lineno}: import inside {function.name}"
        for function in source.functions()
        if not (function.name == "ready" and source.path.endswith("/apps.py"))
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def only_the_store_writes_jobs(source: Source) -> list[str]:
    """No ORM write and no writing SQL on the store's tables, anywhere else."""
    if source.is_in("jobs/store") or source.is_migration:
        return []
    calls = [f"line {c.lineno}: {ast.unparse(c.func)}" for c in source.calls() if _writes_job(c)]
    statements = [
        f"line {s.lineno}: SQL that writes a table of the store"
        for s in source.strings()
        if WRITING_SQL.search(s.value)
    ]
    return calls + statements


def sql_stays_with_its_owners(source: Source) -> list[str]:
    """Raw SQL is in the store, in the dashboard's read queries and in migrations."""
    if source.is_in("jobs/store", "dashboard/queries") or source.is_migration:
        return []
    return [f"line {s.lineno}: raw SQL" for s in source.strings() if ANY_SQL.search(s.value)]


def time_is_the_databases(source: Source) -> list[str]:
    """Store and services, through which all changes go, never look at a machine's wall clock."""
    if not source.is_in("jobs/store", "jobs/services.py"):
        return []
    return [
        f"line {call.lineno}: {ast.unparse(call.func)}"
        for call in source.calls()
        if ".".join(ast.unparse(call.func).split(".")[-2:]) in WALL_CLOCKS
    ]


def files_are_short(source: Source) -> list[str]:
    """A file has one subject."""
    lines = len(source.text.splitlines())
    is_long = lines > MAX_FILE_LINES and not source.is_migration
    return [f"{lines} lines, at most {MAX_FILE_LINES}"] if is_long else []


def functions_are_short(source: Source) -> list[str]:
    """A function is read at a glance."""
    return [
        f"line {function.lineno}: {function.name} has {length_of(function)} lines"
        for function in source.functions()
        if length_of(function) > MAX_FUNCTION_LINES
    ]


def names_say_something(source: Source) -> list[str]:
    """No module that could hold anything."""
    return [
        f"{part!r} says nothing about its content"
        for part in source.module.split(".")
        if part in FORBIDDEN_NAMES
    ]


def public_things_are_documented(source: Source) -> list[str]:
    """Modules, classes, functions and methods without a leading underscore have a docstring."""
    if source.is_migration or not source.text.strip():
        return []
    module = [] if ast.get_docstring(source.tree) else ["the module has no docstring"]
    return module + list(_undocumented(source.tree))


RULES: list[Rule] = [
    imports_follow_the_arrow,
    the_domain_knows_no_api,
    imports_stand_at_the_top,
    only_the_store_writes_jobs,
    sql_stays_with_its_owners,
    time_is_the_databases,
    files_are_short,
    functions_are_short,
    names_say_something,
    public_things_are_documented,
]


def imported_names(source: Source) -> Iterator[tuple[str, int]]:
    """What a file imports, as dotted names with lines; `from a import b` is `a` and `a.b`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(source.module.split(".")[: -node.level]) if node.level else ""
            origin = ".".join(filter(None, [package, node.module]))
            yield origin, node.lineno
            yield from ((f"{origin}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and _last_name(node.func) in IMPORTS_BY_NAME:
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value, node.lineno


def length_of(function: Functions) -> int:
    """Lines from `def` to the end."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _writes_job(call: ast.Call) -> bool:
    """`Job(…)`, `Job.objects.….update(…)`, `jobs_of_tenant(…).delete()`, `job.save()`."""
    if isinstance(call.func, ast.Name):
        return call.func.id in ONLY_STORE_WRITES
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in WRITES:
        return False
    names = {node.id for node in ast.walk(call.func) if isinstance(node, ast.Name)}
    root = _root_name(call.func)
    is_row = root in {model.lower() for model in ONLY_STORE_WRITES}
    return is_row or root.startswith("jobs_of_") or bool(names & ONLY_STORE_WRITES)


def _root_name(node: ast.expr) -> str:
    """The name that a chain of attributes and calls begins with."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rsplit(".", maxsplit=1)[-1]


def _undocumented(parent: ast.Module | ast.ClassDef) -> Iterator[str]:
    for node in parent.body:
        if not isinstance(node, Functions | ast.ClassDef) or node.name.startswith("_"):
            continue
        if node.name == "Meta" or _is_overload(node):
            continue
        if not ast.get_docstring(node):
            yield f"line {node.lineno}: {node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node)


def _is_overload(node: Functions | ast.ClassDef) -> bool:
    return any(_last_name(decorator) in {"overload", "setter"} for decorator in node.decorator_list)


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    """Strings that stand alone as a statement: docstrings, and notes under a constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
