"""What attempts log gets a table."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0012_encryption"),
    ]

    operations = [
        migrations.CreateModel(
            name="LogLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("attempt", models.PositiveSmallIntegerField()),
                ("fence", models.BigIntegerField()),
                ("number", models.PositiveIntegerField()),
                ("at", models.DateTimeField()),
                (
                    "level",
                    models.PositiveSmallIntegerField(
                        help_text="As in Python's logging: 20 is INFO."
                    ),
                ),
                ("logger", models.CharField(blank=True, default="", max_length=100)),
                ("message", models.TextField()),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="log_lines",
                        to="jobs.job",
                    ),
                ),
            ],
            options={
                "ordering": ["job_id", "fence", "number"],
                "constraints": [
                    models.UniqueConstraint(fields=("job", "fence", "number"), name="log_line_once")
                ],
            },
        ),
    ]
