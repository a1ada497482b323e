"""The dashboard's addresses. `?tenant=` narrows a page, so that a link says what is shown."""

from django.contrib.auth.views import LogoutView
from django.urls import path, re_path

from dashboard import actions, bulk, job_page, views

JOB = r"^jobs/(?P<job_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"

urlpatterns = [
    path("", views.overview, name="overview"),
    path("jobs/", views.jobs, name="jobs"),
    path("jobs/new", actions.submit, name="submit"),
    re_path(JOB + r"/$", job_page.job, name="job"),
    re_path(JOB + r"/(?P<part>payload|result)\.json$", job_page.stored_json, name="stored-json"),
    re_path(JOB + r"/log/(?P<fence>[0-9]{1,18})$", job_page.log_text, name="log-text"),
    re_path(
        JOB + r"/(?P<action>cancel|retry|redrive|discard)$", actions.act_on_job, name="act-on-job"
    ),
    path("dead/", views.dead, name="dead"),
    re_path(
        r"^queues/(?P<slug>[a-z0-9-]+)/(?P<queue>[^/]+)/(?P<action>pause|resume)$",
        actions.set_paused,
        name="set-paused",
    ),
    path("operations/", views.operation_list, name="operations"),
    path("operations/new", bulk.start_operation, name="start-operation"),
    path("operations/<uuid:operation_id>/", views.operation, name="operation"),
    path("operations/<uuid:operation_id>/cancel", bulk.cancel_operation, name="cancel-operation"),
    path("workers/", views.worker_list, name="workers"),
    path("favicon.ico", views.favicon, name="favicon"),
    path("login", views.Login.as_view(), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
]
