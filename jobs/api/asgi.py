"""What an ASGI application is called with (https://asgi.readthedocs.io)."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiScope = dict[str, Any]
Application = Callable[[AsgiScope, Any, Any], Awaitable[None]]
