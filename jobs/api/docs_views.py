"""The API's description as OpenAPI, and as a page: Swagger UI, from this installation's own files.

The page has neither inline scripts nor inline styles, so it works under the site's CSP.
"""

import threading

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request

from jobs.api.view import PublicView

_lock = threading.Lock()
_made: dict[str, bytes | str] = {}
"""Once in a process, by media types: that takes a second, and anybody may ask for it."""


class Description(PublicView):
    """`/api/schema/`"""

    schema = None
    renderer_classes = SpectacularAPIView.renderer_classes
    content_negotiation_class = DefaultContentNegotiation

    def get(self, request: Request) -> HttpResponse:
        """As YAML or, for who accepts that, as JSON."""
        renderer = request.accepted_renderer
        with _lock:
            if renderer.media_type not in _made:
                described = SchemaGenerator().get_schema(request=None, public=True)
                _made[renderer.media_type] = renderer.render(described, renderer_context={})
        return HttpResponse(_made[renderer.media_type], content_type=renderer.media_type)


class Docs(SpectacularSwaggerSplitView):
    """`/api/docs/`"""

    http_method_names = ["get", "head"]
    template_name = "jobs/api_docs.html"
