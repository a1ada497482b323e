"""The operator's deep tool: Django's stock admin over the project's tables.

Reads go to the tables; every change goes through `jobs.services`, `jobs.keys` and `jobs.tenants`,
so that it passes the same checks as everywhere and leaves an audit entry.
"""

from jobs.admin import (
    audit,
    dead_letters,
    jobs,
    keys,
    lanes,
    people,
    task_limits,
    tenants,
    workers,
)

__all__ = [
    "audit",
    "dead_letters",
    "jobs",
    "keys",
    "lanes",
    "people",
    "task_limits",
    "tenants",
    "workers",
]
