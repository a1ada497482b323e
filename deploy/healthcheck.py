"""The container's health check: exit code 0 if the web process in it is alive.

The image has no curl. The request names a host that the installation allows.
"""

import os
import sys
import urllib.request

URL = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/health/live"


def host() -> str:
    """What a client may call this server."""
    first = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].lstrip(".") or "localhost"
    return "localhost" if first == "*" else first


def main() -> int:
    """0 if alive, otherwise 1 with the reason."""
    try:
        request = urllib.request.Request(URL, headers={"Host": host()})
        with urllib.request.urlopen(request, timeout=4):  # noqa: S310
            return 0
    except OSError as error:
        sys.stderr.write(f"{URL}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
