"""WSGI entry point: REST and pages. Sockets need asgi.py."""

import os

from django.core.wsgi import get_wsgi_application

from jobqueue_project.loading import load_and_freeze
from jobqueue_project.requests import accept_any_content_type

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobqueue_project.settings")
application = get_wsgi_application()
accept_any_content_type(application)
load_and_freeze()
