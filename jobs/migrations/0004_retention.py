"""How long what has ended is kept; what is done by one process at a time; room for sums of days."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    """Nothing is written but columns and one table."""

    dependencies = [
        ("jobs", "0003_lines"),
    ]

    operations = [
        migrations.CreateModel(
            name="Chore",
            fields=[
                ("name", models.CharField(max_length=24, primary_key=True, serialize=False)),
                ("not_before", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="laneminute",
            name="purged",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="tenant",
            name="keep_dead_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Days that dead letters are kept. Empty for those of the settings.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="keep_finished_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Days that DONE and CANCELLED jobs are kept. Empty for those of the settings.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AlterField(
            model_name="laneminute",
            name="cancelled",
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name="laneminute",
            name="dead",
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name="laneminute",
            name="done",
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name="laneminute",
            name="failed",
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name="laneminute",
            name="started",
            field=models.PositiveBigIntegerField(default=0),
        ),
    ]
