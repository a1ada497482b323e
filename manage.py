#!/usr/bin/env python
"""Django's command line for this project."""

import os
import sys


def main() -> None:
    """Run the command; Ctrl-C ends it quietly, at whatever moment it comes."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobqueue_project.settings")
    try:
        from django.core.management import execute_from_command_line  # noqa: PLC0415

        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
