"""A pause keeps who, when and why; a worker says its versions and can be asked to stop."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0013_log_lines"),
    ]

    operations = [
        migrations.AddField(
            model_name="lane",
            name="paused_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="lane",
            name="paused_by",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, max_length=150
            ),
        ),
        migrations.AddField(
            model_name="lane",
            name="pause_reason",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Why it is paused; everybody who sees the queue reads it.",
                max_length=200,
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="asked_to",
            field=models.CharField(
                blank=True,
                choices=[("quiet", "quiet"), ("stop", "stop")],
                db_default="",
                default="",
                help_text="What it is to do from its next heartbeat on.",
                max_length=5,
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="version",
            field=models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
        migrations.AddField(
            model_name="worker",
            name="python_version",
            field=models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
        migrations.AlterField(
            model_name="worker",
            name="is_draining",
            field=models.BooleanField(default=False, help_text="Takes no more jobs."),
        ),
    ]
