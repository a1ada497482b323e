"""The addresses of the API. None of a call ends in a slash."""

from django.urls import include, path, re_path, register_converter

from jobs.addresses import Name
from jobs.api import (
    audit_views,
    dead_letter_views,
    docs_views,
    export_views,
    health_views,
    job_views,
    key_views,
    lease_views,
    log_views,
    operation_views,
    queue_views,
    tenant_views,
    usage_views,
)
from jobs.api.view import UnknownAddress

register_converter(Name, "name")

version_1 = [
    path("jobs", job_views.Jobs.as_view(), name="api-jobs"),
    path("jobs/bulk", job_views.BulkJobs.as_view(), name="api-bulk"),
    path("jobs/export", export_views.ExportJobs.as_view(), name="api-export"),
    path("jobs/<str:job_id>", job_views.OneJob.as_view(), name="api-job"),
    path("jobs/<str:job_id>/cancel", job_views.CancelJob.as_view(), name="api-cancel"),
    path("jobs/<str:job_id>/retry", job_views.RetryJob.as_view(), name="api-retry"),
    path("jobs/<str:job_id>/why", job_views.WhyJob.as_view(), name="api-why"),
    path("jobs/<str:job_id>/logs", log_views.JobLogs.as_view(), name="api-logs"),
    path("dlq", dead_letter_views.DeadLetters.as_view(), name="api-dlq"),
    path("dlq/redrive", dead_letter_views.Redrive.as_view(), name="api-redrive"),
    path("dlq/<str:job_id>", dead_letter_views.OneDeadLetter.as_view(), name="api-dead-letter"),
    path("operations", operation_views.Operations.as_view(), name="api-operations"),
    path(
        "operations/<str:operation_id>",
        operation_views.OneOperation.as_view(),
        name="api-operation",
    ),
    path(
        "operations/<str:operation_id>/cancel",
        operation_views.CancelOperation.as_view(),
        name="api-cancel-operation",
    ),
    path("queues", queue_views.Queues.as_view(), name="api-queues"),
    path("queues/<name:queue>", queue_views.OneQueue.as_view(), name="api-queue"),
    path("queues/<name:queue>/pause", queue_views.PauseQueue.as_view(), name="api-pause"),
    path("queues/<name:queue>/resume", queue_views.ResumeQueue.as_view(), name="api-resume"),
    path("keys", key_views.Keys.as_view(), name="api-keys"),
    path("keys/<str:key_id>", key_views.OneKey.as_view(), name="api-key"),
    path("keys/<str:key_id>/rotate", key_views.RotateKey.as_view(), name="api-rotate-key"),
    path("leases", lease_views.Leases.as_view(), name="api-lease"),
    path("leases/heartbeat", lease_views.Heartbeat.as_view(), name="api-heartbeat"),
    path("leases/ack", lease_views.Ack.as_view(), name="api-ack"),
    path("leases/fail", lease_views.Fail.as_view(), name="api-fail"),
    path("leases/logs", lease_views.Log.as_view(), name="api-log"),
    path("leases/release", lease_views.Release.as_view(), name="api-release"),
    path("usage", usage_views.UsageOfTenant.as_view(), name="api-usage"),
    path("audit", audit_views.Audit.as_view(), name="api-audit"),
    path("tenant", tenant_views.OwnTenant.as_view(), name="api-tenant"),
    path("task-limits", tenant_views.TaskLimits.as_view(), name="api-task-limits"),
    path("task-limits/<name:task>", tenant_views.OneTaskLimit.as_view(), name="api-task-limit"),
    path("metrics", queue_views.Figures.as_view(), name="api-figures"),
]

urlpatterns = [
    path("api/v1/", include(version_1)),
    path("api/schema/", docs_views.Description.as_view(), name="schema"),
    path("api/docs/", docs_views.Docs.as_view(), name="api-docs"),
    re_path(r"^api(?:/|$)", UnknownAddress.as_view(), name="api-unknown"),
    path("health/live", health_views.Live.as_view(), name="health-live"),
    path("health/ready", health_views.Ready.as_view(), name="health-ready"),
    path("metrics", health_views.Metrics.as_view(), name="metrics"),
]
