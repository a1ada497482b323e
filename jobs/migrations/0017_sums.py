"""Sums of former minutes are kept beside each other for several lengths of time.

A month of 1,000 queues, 1,300,000 rows, takes some ten seconds. Those who count may go on, as nobody
counts in minutes that are hours old; only at the end they wait for a moment.
"""

from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

COUNTS = (
    "done, failed, dead, cancelled, started, wait_seconds, max_wait_seconds, run_seconds, purged"
)
SUMS = ", ".join(
    f"{'max' if name == 'max_wait_seconds' else 'sum'}({name})" for name in COUNTS.split(", ")
)
SETTINGS = """
ALTER TABLE jobs_laneperiod SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000, autovacuum_analyze_scale_factor = 0.05)"""
OLD_SHARD = {60: 32, 3_600: 33, 86_400: 34, 0: 34}
"""Below which shard rows are in sums of a length: 32 were those of hours, 33 of days."""
KEPT_DAYS = {60: 2, 3_600: 14, 86_400: None, 0: None}

TAKE = {
    "postgresql": """
        CREATE TEMPORARY TABLE former_minute ON COMMIT DROP AS
        WITH gone AS (
            DELETE FROM jobs_laneminute WHERE minute < clock_timestamp() - interval '2 hours'
            RETURNING *
        )
        SELECT gone.*, extract(epoch FROM minute)::bigint AS second FROM gone""",
    "sqlite": """
        CREATE TEMPORARY TABLE former_minute AS
        SELECT *, CAST(strftime('%s', minute) AS INTEGER) AS second FROM jobs_laneminute
        WHERE minute < strftime('%Y-%m-%d %H:%M:00', 'now', '-2 hours')""",
}
# What is left is put into a new file: the old one is as large as all that was there.
FORGET = {
    "postgresql": """
        LOCK TABLE jobs_laneminute IN ACCESS EXCLUSIVE MODE;
        CREATE TEMPORARY TABLE recent_minute ON COMMIT DROP AS SELECT * FROM jobs_laneminute;
        TRUNCATE jobs_laneminute;
        INSERT INTO jobs_laneminute SELECT * FROM recent_minute""",
    "sqlite": """
        DELETE FROM jobs_laneminute WHERE id IN (SELECT id FROM former_minute);
        DROP TABLE former_minute""",
}
BEGINNING = {
    "postgresql": "to_timestamp({})",
    "sqlite": "strftime('%Y-%m-%d %H:%M:00', {}, 'unixepoch')",
}
AGO = {
    "postgresql": "extract(epoch FROM clock_timestamp()) - 86400 * {}",
    "sqlite": "strftime('%s', 'now') - 86400 * {}",
}


def _of_lanes(vendor: str, length: int) -> str:
    start = f"second / {length} * {length}" if length else "0 * second"
    days = KEPT_DAYS[length]
    young = f"AND second > {AGO[vendor].format(days)}" if days else ""
    return f"""
        INSERT INTO jobs_laneperiod (tenant_id, length, lane_id, minute, {COUNTS})
        SELECT tenant_id, {length}, lane_id, {BEGINNING[vendor].format("start")}, {SUMS}
        FROM (SELECT former_minute.*, {start} AS start FROM former_minute
            WHERE shard < {OLD_SHARD[length]} {young}) AS former
        GROUP BY tenant_id, lane_id, start"""


def _of_all(length: int, whose: str, those: str) -> str:
    """Sums of the sums of this length: of tenants from those of lanes, of everybody from these."""
    return f"""
        INSERT INTO jobs_laneperiod (tenant_id, length, lane_id, minute, {COUNTS})
        SELECT {whose}, {length}, 0, minute, {SUMS} FROM jobs_laneperiod
        WHERE length = {length} AND {those} GROUP BY 1, minute"""


def sum_up(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Take the minutes away and add them up."""
    vendor = schema_editor.connection.vendor
    _run(schema_editor, TAKE[vendor])
    for length in OLD_SHARD:
        _run(schema_editor, _of_lanes(vendor, length))
        _run(schema_editor, _of_all(length, "tenant_id", "lane_id > 0"))
        _run(schema_editor, _of_all(length, "0 * lane_id", "lane_id = 0 AND tenant_id > 0"))
    for statement in FORGET[vendor].split(";"):
        _run(schema_editor, statement)
    if vendor == "postgresql":
        _run(schema_editor, SETTINGS)


def give_back(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Put the sums of days back, which all counts are in."""
    _run(
        schema_editor,
        f"""
        INSERT INTO jobs_laneminute (lane_id, tenant_id, minute, shard, {COUNTS})
        SELECT lane_id, tenant_id, minute, 33, {COUNTS} FROM jobs_laneperiod
        WHERE length = 86400 AND lane_id > 0""",
    )


def _run(schema_editor: BaseDatabaseSchemaEditor, statement: str) -> None:
    schema_editor.execute(statement, params=None)


def _count(**options: Any) -> models.PositiveBigIntegerField[Any, Any]:
    return models.PositiveBigIntegerField(default=0, **options)


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0016_waits"),
    ]

    operations = [
        migrations.CreateModel(
            name="LanePeriod",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("done", _count()),
                ("failed", _count()),
                ("dead", _count()),
                ("cancelled", _count()),
                ("started", _count()),
                (
                    "wait_seconds",
                    models.FloatField(default=0, help_text="Sum over the started attempts."),
                ),
                ("max_wait_seconds", models.FloatField(default=0)),
                (
                    "run_seconds",
                    models.FloatField(default=0, help_text="Sum over the ended attempts."),
                ),
                ("purged", _count(db_default=0)),
                ("tenant_id", models.BigIntegerField()),
                ("length", models.PositiveIntegerField()),
                ("lane_id", models.BigIntegerField()),
                ("minute", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant_id", "length", "lane_id", "minute"),
                        name="lane_period_once",
                    )
                ],
            },
        ),
        migrations.RunPython(sum_up, give_back),
    ]
