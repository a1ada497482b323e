"""`python -m tests.invariants.deaf_worker …`: `manage.py runworkers` that hears no wake-up."""

import sys

import django
from django.core.management import execute_from_command_line


def main() -> None:
    """Run the workers; forks inherit the deafness."""
    django.setup()
    from workers.listener import Listener

    Listener.tick = lambda self: 3_600  # type: ignore[method-assign]
    execute_from_command_line(["manage.py", "runworkers", *sys.argv[1:]])


if __name__ == "__main__":
    main()
