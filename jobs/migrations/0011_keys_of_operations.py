from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0010_memberships"),
    ]

    operations = [
        migrations.AddField(
            model_name="operation",
            name="idempotency_key",
            field=models.CharField(max_length=255, null=True),
        ),
        migrations.AddConstraint(
            model_name="operation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("idempotency_key__isnull", False)),
                fields=("tenant", "idempotency_key"),
                name="operation_idempotency",
            ),
        ),
    ]
