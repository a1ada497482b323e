"""The floor of the API: a Django project of bare views, for the same server and the same database.

No keys, no limits, no checks, and no middleware but the one that gives an answer its length.
`BENCH_BARE_JOB` in the environment is the id of the job of which `insert` makes copies.
"""

import os
from functools import cache
from uuid import UUID

import dj_database_url
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

TEMPLATE = "BENCH_BARE_JOB"

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": dj_database_url.config(conn_max_age=600)},
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "jobs"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="bare",  # noqa: S106  (signs nothing)
    USE_TZ=True,
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
)
django.setup()

from rest_framework.request import Request  # noqa: E402  (needs the settings)
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from bench.bare_insert import BareInsert  # noqa: E402
from jobs.models import Job  # noqa: E402


@cache
def _bare() -> BareInsert:
    return BareInsert(UUID(os.environ[TEMPLATE]))


def insert(request: HttpRequest) -> HttpResponse:
    """One INSERT of a row like that of a job, and its COMMIT."""
    bare = _bare()
    with connection.cursor() as cursor:
        cursor.execute(bare.statement, bare.values())
    return JsonResponse({"status": "PENDING"}, status=201)


class Look(APIView):
    """One row by its key through the ORM, as REST framework renders it."""

    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Request, job_id: UUID) -> Response:
        """The job's id and status."""
        job = Job.objects.get(pk=job_id)
        return Response({"id": str(job.pk), "task": job.task, "status": job.status})


urlpatterns = [path("jobs", insert), path("jobs/<uuid:job_id>", Look.as_view())]
application = get_wsgi_application()
