"""How PostgreSQL keeps the hot tables: room for updates in place, and early vacuuming."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# A share of the rows is the wrong trigger for a table that keeps millions of finished jobs: a fixed
# number of dead rows is, so that the indexes of the few live ones stay small.
JOB = {
    "fillfactor": 80,
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 50000,
    "autovacuum_vacuum_cost_delay": 0,
    "autovacuum_analyze_scale_factor": 0,
    "autovacuum_analyze_threshold": 100000,
}
COUNTERS = {
    "fillfactor": 50,
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 2000,
}
TABLES = {
    "jobs_job": JOB,
    "jobs_laneminute": COUNTERS,
    "jobs_submissionsecond": COUNTERS,
    "jobs_worker": COUNTERS,
}


def keep_room(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Set the storage parameters."""
    if schema_editor.connection.vendor == "postgresql":
        for table, options in TABLES.items():
            settings = ", ".join(f"{name} = {value}" for name, value in options.items())
            schema_editor.execute(f"ALTER TABLE {table} SET ({settings})")


def reset(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Back to the server's defaults."""
    if schema_editor.connection.vendor == "postgresql":
        for table, options in TABLES.items():
            schema_editor.execute(f"ALTER TABLE {table} RESET ({', '.join(options)})")


class Migration(migrations.Migration):
    """Storage parameters; nothing on SQLite."""

    dependencies = [("jobs", "0001_initial")]
    operations = [migrations.RunPython(keep_room, reset)]
