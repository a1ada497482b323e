"""The dashboard's socket, and the addresses where there is none."""

from django.urls import path, re_path

from dashboard.consumers import LiveConsumer, Nowhere

websocket_urlpatterns = [path("ws/live", LiveConsumer.as_asgi())]
nowhere = re_path("", Nowhere.as_asgi())
