"""Response bodies: JSON with the payloads spliced in as they were sent."""

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import BaseRenderer

from jobs.exact_json import dumps


class RawJSONRenderer(BaseRenderer):
    """Renders with `exact_json.dumps`."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The body; empty where there is nothing to say."""
        return b"" if data is None else dumps(data)
