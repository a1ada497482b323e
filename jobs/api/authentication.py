"""Who is calling, and what their key allows."""

from collections.abc import Mapping
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from jobs.api.rate_limits import count_failure
from jobs.errors import InsufficientScope
from jobs.keys import Scope, allows, recognise
from jobs.models import ApiKey, Tenant


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>`. The tenant is the key's.

    Only failures are counted against an address, and only a failure can be refused for them: a
    good key works from where ten thousand wrong ones come.
    """

    def authenticate(self, request: Request) -> tuple[Tenant, ApiKey] | None:
        """The tenant and the key. Raises for a wrong one; None where there is none."""
        scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = recognise(text.strip())
        if key is None:
            count_failure(request)
            raise AuthenticationFailed("The API key is not valid.")
        return key.tenant, key

    def authenticate_header(self, request: Request) -> str:
        """What a 401 says about how to do better."""
        given = request.META.get("HTTP_AUTHORIZATION", "").lower().startswith("bearer")
        return 'Bearer realm="jobs", error="invalid_token"' if given else 'Bearer realm="jobs"'


class HasScope(BasePermission):
    """Lets a key do what its scopes allow. A view says per method which one it needs."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the call may go on. Raises `InsufficientScope` with what is missing."""
        if not isinstance(request.auth, ApiKey):
            return False
        scopes: Mapping[str, Scope] = getattr(view, "scopes", {})
        needed = scopes.get("GET" if request.method == "HEAD" else str(request.method))
        if needed is None:
            return request.method not in view.allowed_methods  # 405 comes next
        if not allows(request.auth, needed):
            raise InsufficientScope(f"This needs a key with the scope {needed.value!r}.")
        return True
