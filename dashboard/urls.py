"""The dashboard's addresses. `?tenant=` narrows a page, so that a link says what is shown."""

from django.contrib.auth.views import LogoutView
from django.urls import path, re_path

from dashboard import (
    actions,
    audit_page,
    bulk,
    job_page,
    jobs_page,
    key_pages,
    overview_page,
    palette,
    queue_pages,
    saved_views,
    settings_page,
    tenant_pages,
    views,
    worker_pages,
)

JOB = r"^jobs/(?P<job_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
MEMBER = r"^tenants/(?P<slug>[a-z0-9-]+)/members/(?P<user_id>[0-9]{1,18})"
"""Numbers are as long as a database can take."""

urlpatterns = [
    path("", overview_page.overview, name="overview"),
    path("jobs/", jobs_page.jobs, name="jobs"),
    path("jobs/chosen", jobs_page.act_on_chosen, name="act-on-chosen"),
    path("jobs/views", saved_views.save, name="save-view"),
    re_path(
        r"^jobs/views/(?P<view_id>[0-9]{1,18})/delete$", saved_views.delete, name="delete-view"
    ),
    path("jobs/export", jobs_page.export, name="export-jobs"),
    path("jobs/values", jobs_page.filter_values, name="filter-values"),
    path("jobs/new", actions.submit, name="submit"),
    re_path(JOB + r"/$", job_page.job, name="job"),
    re_path(JOB + r"/(?P<part>payload|result)\.json$", job_page.stored_json, name="stored-json"),
    re_path(JOB + r"/log/(?P<fence>[0-9]{1,18})$", job_page.log_text, name="log-text"),
    re_path(
        JOB + r"/(?P<action>cancel|retry|redrive|discard)$", actions.act_on_job, name="act-on-job"
    ),
    path("dead/", views.dead, name="dead"),
    path("queues/", queue_pages.queue_list, name="queues"),
    path("queues/<slug:slug>/<str:queue>/pause", queue_pages.pause, name="pause-queue"),
    path("queues/<slug:slug>/<str:queue>/resume", queue_pages.resume, name="resume-queue"),
    path("queues/<slug:slug>/<str:queue>/limits", queue_pages.limits, name="queue-limits"),
    path("tenants/", tenant_pages.tenant_list, name="tenants"),
    path("tenants/<slug:slug>/", tenant_pages.tenant, name="tenant"),
    path("tenants/<slug:slug>/limits", tenant_pages.limits, name="tenant-limits"),
    re_path(
        r"^tenants/(?P<slug>[a-z0-9-]+)/(?P<action>suspend|resume)$",
        tenant_pages.set_suspended,
        name="set-suspended",
    ),
    re_path(MEMBER + r"$", tenant_pages.member, name="member"),
    re_path(MEMBER + r"/remove$", tenant_pages.remove, name="remove-member"),
    path("operations/", views.operation_list, name="operations"),
    path("operations/new", bulk.start_operation, name="start-operation"),
    path("operations/<uuid:operation_id>/", views.operation, name="operation"),
    path("operations/<uuid:operation_id>/cancel", bulk.cancel_operation, name="cancel-operation"),
    path("workers/", worker_pages.worker_list, name="workers"),
    re_path(
        r"^workers/(?P<worker_id>[^/]+)/(?P<action>quiet|resume|stop)$",
        worker_pages.ask,
        name="ask-worker",
    ),
    path("keys/", key_pages.keys, name="keys"),
    path("keys/new", key_pages.new_key, name="new-key"),
    re_path(r"^keys/(?P<prefix>[0-9A-Za-z]+)/rotate$", key_pages.rotate_key, name="rotate-key"),
    re_path(r"^keys/(?P<prefix>[0-9A-Za-z]+)/revoke$", key_pages.revoke_key, name="revoke-key"),
    path("audit/", audit_page.audit, name="audit"),
    path("settings/", settings_page.settings, name="settings"),
    path("find", palette.find, name="find"),
    path("favicon.ico", views.favicon, name="favicon"),
    path("login", views.Login.as_view(), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
]
