"""Lines, worker tags, limits of tasks and of starts."""

import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

import jobs.statuses

FILL = (
    """
    INSERT INTO jobs_line (lane_id, task, worker_tags)
    SELECT DISTINCT lane_id, task, '' FROM jobs_job""",
    """
    UPDATE jobs_job SET line_id = (
        SELECT id FROM jobs_line
        WHERE jobs_line.lane_id = jobs_job.lane_id AND jobs_line.task = jobs_job.task)""",
)
KEEP_ROOM = """
ALTER TABLE jobs_startclock SET (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)"""


def fill(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Put the jobs that there are into lines."""
    for statement in FILL:
        schema_editor.execute(statement)
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(KEEP_ROOM)


class Migration(migrations.Migration):
    """The jobs of a lane get lines; see `jobs.models.Line`."""

    dependencies = [
        ("jobs", "0002_storage"),
    ]

    operations = [
        migrations.CreateModel(
            name="Line",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("task", models.CharField(max_length=128)),
                ("worker_tags", models.CharField(blank=True, default="", max_length=1000)),
            ],
        ),
        migrations.CreateModel(
            name="StartClock",
            fields=[
                ("holder", models.CharField(max_length=24, primary_key=True, serialize=False)),
                ("paid_off_at", models.FloatField()),
            ],
        ),
        migrations.CreateModel(
            name="TaskLimit",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "max_running",
                    models.PositiveIntegerField(
                        blank=True, help_text="Jobs running at once. Empty for no limit.", null=True
                    ),
                ),
                (
                    "starts_per_minute",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Jobs started per minute, evenly. Empty for no limit.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "start_burst",
                    models.PositiveIntegerField(
                        default=1,
                        help_text="Of these, how many may start at one moment.",
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "task",
                    models.CharField(
                        max_length=128,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\\Z",
                                "A name is 1 to 128 letters, digits, dots, underscores, colons or hyphens.",
                            )
                        ],
                    ),
                ),
            ],
            options={
                "ordering": ["task", "tenant_id"],
            },
        ),
        migrations.RemoveIndex(
            model_name="job",
            name="job_ready",
        ),
        migrations.RemoveIndex(
            model_name="job",
            name="job_running",
        ),
        migrations.AddField(
            model_name="job",
            name="worker_tags",
            field=models.CharField(
                blank=True,
                default="",
                help_text="Tags that a worker must have to run it, sorted, with commas between them.",
                max_length=1000,
            ),
        ),
        migrations.AddField(
            model_name="lane",
            name="start_burst",
            field=models.PositiveIntegerField(
                default=1,
                help_text="Of these, how many may start at one moment.",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="lane",
            name="starts_per_minute",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Jobs started per minute, evenly. Empty for no limit.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="start_burst",
            field=models.PositiveIntegerField(
                default=1,
                help_text="Of these, how many may start at one moment.",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="starts_per_minute",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Jobs started per minute, evenly. Empty for no limit.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="tags",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="line",
            name="lane",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="lines",
                to="jobs.lane",
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="line",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                to="jobs.line",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                models.F("lane"),
                models.F("line"),
                django.db.models.expressions.CombinedExpression(
                    models.F("priority"), "*", models.Value(-1)
                ),
                models.F("run_at"),
                models.F("id"),
                condition=models.Q(("status", jobs.statuses.Status["PENDING"])),
                name="job_ready",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", jobs.statuses.Status["RUNNING"])),
                fields=["tenant", "lane", "line"],
                name="job_running",
            ),
        ),
        migrations.AddField(
            model_name="tasklimit",
            name="tenant",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="task_limits",
                to="jobs.tenant",
            ),
        ),
        migrations.AddConstraint(
            model_name="line",
            constraint=models.UniqueConstraint(
                fields=("lane", "task", "worker_tags"), name="line_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="tasklimit",
            constraint=models.UniqueConstraint(fields=("tenant", "task"), name="task_limit_once"),
        ),
        migrations.AddConstraint(
            model_name="tasklimit",
            constraint=models.UniqueConstraint(
                condition=models.Q(("tenant__isnull", True)),
                fields=("task",),
                name="task_limit_of_all_once",
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="job",
            name="line",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                to="jobs.line",
            ),
        ),
    ]
