"""Waits are counted by their lengths."""

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def keep_room(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """For a minute, a row is updated again and again, in its place."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE jobs_waitminute SET (fillfactor = 70)")


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0015_saved_views"),
    ]

    operations = [
        migrations.CreateModel(
            name="WaitMinute",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tenant_id", models.BigIntegerField()),
                ("minute", models.DateTimeField()),
                ("shard", models.PositiveSmallIntegerField(default=0)),
                ("bucket", models.PositiveSmallIntegerField()),
                ("attempts", models.PositiveBigIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant_id", "minute", "shard", "bucket"), name="wait_minute_once"
                    )
                ],
            },
        ),
        migrations.RunPython(keep_room, migrations.RunPython.noop),
    ]
