"""`manage.py runchild`: the child process of a worker. Not for people."""

from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from workers.child import serve


class Command(BaseCommand):
    """Started by a worker process for killable jobs, with its end of a pipe."""

    help = "Runs killable jobs for a worker process, which starts this itself."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The arguments."""
        parser.add_argument("descriptor", type=int)
        parser.add_argument("worker")
        parser.add_argument("parent", type=int)

    def handle(
        self, *args: object, descriptor: int, worker: str, parent: int, **options: object
    ) -> None:
        """Serve until the parent closes the pipe."""
        serve(descriptor, worker, parent)
