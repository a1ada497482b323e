"""The API's documentation in the browser: Swagger UI, from this installation's own files.

The page has neither inline scripts nor inline styles, so it works under the site's CSP.
"""

from drf_spectacular.views import SpectacularSwaggerSplitView


class Docs(SpectacularSwaggerSplitView):
    """`/api/docs/`"""

    template_name = "jobs/api_docs.html"
