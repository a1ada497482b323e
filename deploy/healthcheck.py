"""The container's health check: exit code 0 if the web process in it is alive.

The image has no curl. The request names a host that the installation allows, and looks as if it
came through its proxy, so that neither the host check nor the redirect to https answers instead.
"""

import os
import sys
import urllib.request

URL = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/health/live"


def headers() -> dict[str, str]:
    """What the proxy in front would send."""
    host = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].lstrip(".") or "localhost"
    return {"Host": "localhost" if host == "*" else host, "X-Forwarded-Proto": "https"}


def main() -> int:
    """0 if alive, otherwise 1 with the reason."""
    try:
        with urllib.request.urlopen(urllib.request.Request(URL, headers=headers()), timeout=4):
            return 0
    except OSError as error:
        sys.stderr.write(f"{URL}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
