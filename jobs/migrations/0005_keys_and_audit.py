"""What keys and limits know of themselves, and an audit log that nobody can rewrite."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

REFUSE = """
CREATE FUNCTION jobs_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append only' USING ERRCODE = 'restrict_violation';
END $$"""
GUARD = """
CREATE TRIGGER jobs_audit_is_append_only BEFORE UPDATE OR DELETE ON jobs_auditentry
FOR EACH ROW EXECUTE FUNCTION jobs_audit_is_append_only()"""
# Not against DELETE: `manage.py flush` empties tables with it.
GUARD_OF_SQLITE = """
CREATE TRIGGER jobs_audit_is_append_only BEFORE UPDATE ON jobs_auditentry
BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END"""


def guard(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Refuse changes of the audit log. A later migration of its table has to do so again."""
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    for statement in (REFUSE, GUARD) if is_postgresql else (GUARD_OF_SQLITE,):
        schema_editor.execute(statement)


def unguard(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Allow them."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION jobs_audit_is_append_only CASCADE")
    else:
        schema_editor.execute("DROP TRIGGER jobs_audit_is_append_only")


class Migration(migrations.Migration):
    """Columns, and a trigger."""

    dependencies = [
        ("jobs", "0004_retention"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="created_by",
            field=models.CharField(blank=True, default="", editable=False, max_length=150),
        ),
        migrations.AddField(
            model_name="apikey",
            name="last_four",
            field=models.CharField(blank=True, default="", editable=False, max_length=4),
        ),
        migrations.AddField(
            model_name="apikey",
            name="queues",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text="The only queues it may use. Empty for every queue.",
            ),
        ),
        migrations.AddField(
            model_name="auditentry",
            name="address",
            field=models.GenericIPAddressField(null=True),
        ),
        migrations.AddField(
            model_name="lane",
            name="ceilings",
            field=models.JSONField(
                editable=False,
                help_text="What the operator had set of those limits that the tenant has set itself.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="tasklimit",
            name="ceilings",
            field=models.JSONField(
                editable=False,
                help_text="What the operator had set of those limits that the tenant has set itself.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="ceilings",
            field=models.JSONField(
                editable=False,
                help_text="What the operator had set of those limits that the tenant has set itself.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="auditentry",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="jobs.tenant",
            ),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(
                models.F("tenant"),
                models.OrderBy(models.F("id"), descending=True),
                name="audit_of_tenant",
            ),
        ),
        migrations.RunPython(guard, unguard),
    ]
