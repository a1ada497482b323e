"""While the tests run, every statement that writes a job must come from the store.

`tests/architecture` reads the sources; this looks at what is really executed, whatever wrote it.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from tests.architecture.rules import MAY_IMPORT, ROOT, WRITING_SQL


def watch(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    """A receiver of `connection_created`."""
    if refuse_other_writers not in connection.execute_wrappers:
        connection.execute_wrappers.append(refuse_other_writers)


def refuse_other_writers(
    execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Execute, unless it writes a table of the store on behalf of somebody else."""
    if _writes_for_the_store(str(sql)):
        writer = _innermost_module()
        assert writer.startswith(("jobs/store/", "jobs/migrations/", "tests/", "nobody")), (
            f"{writer} writes a table of the store: {sql}"
        )
    return execute(sql, params, many, context)


@lru_cache(maxsize=2_000)  # there are few statements, and they are searched at each execution
def _writes_for_the_store(sql: str) -> bool:
    return bool(WRITING_SQL.search(sql))


def _innermost_module() -> str:
    """The file of ours that is nearest to the statement; `nobody` for Django on its own."""
    frame = sys._getframe(2)
    while frame:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT):
            module = path.relative_to(ROOT)
            if module.parts[0] in {*MAY_IMPORT, "tests"}:
                return module.as_posix()
        frame = frame.f_back
    return "nobody"
