"""WSGI entry point: REST and pages. Sockets need asgi.py."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobqueue_project.settings")
application = get_wsgi_application()
