"""Members get a role and the right to see payloads; those there were keep what they could do."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

KEEP_MEMBERS = """
INSERT INTO jobs_membership (tenant_id, user_id, role, sees_payloads)
SELECT tenant_id, user_id, 'operator', TRUE FROM jobs_tenant_members"""

KEEP_THEM_WITHOUT_ROLES = """
INSERT INTO jobs_tenant_members (tenant_id, user_id)
SELECT tenant_id, user_id FROM jobs_membership"""


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("jobs", "0009_successors_of_keys"),
    ]

    operations = [
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("viewer", "Viewer"),
                            ("operator", "Operator"),
                            ("admin", "Admin"),
                        ],
                        default="viewer",
                        help_text=(
                            "Viewers look; operators also submit, cancel, retry, discard and "
                            "pause; admins also change keys, limits and roles."
                        ),
                        max_length=8,
                    ),
                ),
                (
                    "sees_payloads",
                    models.BooleanField(
                        default=False,
                        help_text="May read payloads and results, whatever the role.",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to="jobs.tenant",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["tenant_id", "user_id"],
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "user"), name="membership_once")
                ],
            },
        ),
        migrations.RunSQL(KEEP_MEMBERS, KEEP_THEM_WITHOUT_ROLES),
        migrations.RemoveField(model_name="tenant", name="members"),
        migrations.AddField(
            model_name="tenant",
            name="members",
            field=models.ManyToManyField(
                help_text="Users who see this tenant on the dashboard.",
                related_name="tenants",
                through="jobs.Membership",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
    ]
