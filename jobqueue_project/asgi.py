"""ASGI entry point: everything, sockets included."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.db import connections

from jobqueue_project.requests import accept_any_content_type

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobqueue_project.settings")
http = get_asgi_application()
accept_any_content_type(http)
# Each request has a thread of its own here, and nobody else would ever use its connection.
connections.settings["default"]["CONN_MAX_AGE"] = 0

from dashboard.routing import websocket_urlpatterns  # noqa: E402  (needs the apps loaded)
from jobs.api.door import Door  # noqa: E402
from jobs.api.held import Held, asks_for_news  # noqa: E402
from jobs.api.long_poll import asks_for_jobs  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": Door(Held(Held(http, asks_for_jobs), asks_for_news)),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
    }
)
