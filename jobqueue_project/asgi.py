"""ASGI entry point: everything, sockets included."""

import os
import sys

import django
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobqueue_project.settings")
django.setup(set_prefix=False)

from jobqueue_project.kept_threads import KeptThreads  # noqa: E402  (needs the apps loaded)
from jobqueue_project.loading import load_and_freeze  # noqa: E402
from jobqueue_project.requests import accept_any_content_type  # noqa: E402

http = KeptThreads(max_age=connections.settings["default"]["CONN_MAX_AGE"])
accept_any_content_type(http)
# No other thread is kept, and nobody would use its connection again.
connections.settings["default"]["CONN_MAX_AGE"] = 0

if "daphne" in sys.modules:  # to load it costs 25 MB, where another server is used for nothing
    from jobqueue_project import daphne_requests

    daphne_requests.install()

from dashboard.routing import nowhere, websocket_urlpatterns  # noqa: E402
from jobs.api.door import Door  # noqa: E402
from jobs.api.held import Held, asks_for_news  # noqa: E402
from jobs.api.long_poll import asks_for_jobs  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": Door(Held(Held(http, asks_for_jobs), asks_for_news)),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([*websocket_urlpatterns, nowhere]))
        ),
    }
)
load_and_freeze()
