"""Keys of tenants, and lines by the key of their jobs; until a tenant has one, nothing changes."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0011_keys_of_operations"),
    ]

    operations = [
        migrations.CreateModel(
            name="TenantKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("wrapped", models.BinaryField()),
                ("wrapped_by", models.CharField(max_length=32)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("erased_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="encryption_keys",
                        to="jobs.tenant",
                    ),
                ),
            ],
            options={"ordering": ["-id"]},
        ),
        migrations.AddField(
            model_name="tenant",
            name="key_id",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                editable=False,
                help_text="The `TenantKey` that encrypts its new values; 0: none, they are plain.",
            ),
        ),
        migrations.AddField(
            model_name="line",
            name="key_id",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="worker",
            name="environment_keys",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="Ids of the keys in its ENCRYPTION_KEYS, with commas between them.",
            ),
        ),
        migrations.RemoveConstraint(model_name="line", name="line_once"),
        migrations.AddConstraint(
            model_name="line",
            constraint=models.UniqueConstraint(
                fields=("lane", "task", "worker_tags", "key_id"), name="line_once"
            ),
        ),
    ]
