"""What our commands share: verbs, answers for people or programs, exit codes with a meaning."""

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any, NoReturn

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from jobs.errors import JobNotFound, JobQueueError, QueueNotFound, StatusConflict, TooManyRequests
from jobs.exact_json import dumps
from jobs.models import Tenant

EXIT_CODES = "exit codes: 0 done, 1 refused, 2 usage, 3 not found, 4 wrong status, 5 limit reached"
BAR_WIDTH = 30
REFUSED, USAGE, NOT_FOUND, WRONG_STATUS, LIMIT_REACHED = 1, 2, 3, 4, 5


class DomainCommand(BaseCommand):
    """A command with verbs, each a method that takes the options.

    An error of the domain becomes a `CommandError` with the error's text and its exit code.
    """

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> Any:
        """With the exit codes at the end of `--help`."""
        return super().create_parser(prog_name, subcommand, epilog=EXIT_CODES, **options)

    def add_verb(self, verbs: Any, name: str, text: str) -> ArgumentParser:
        """A verb, which answers in JSON if asked to."""
        parser: ArgumentParser = verbs.add_parser(
            name, help=text, description=text, epilog=EXIT_CODES
        )
        parser.add_argument("--json", action="store_true", help="answer in JSON, for programs")
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Call the verb's method."""
        self.as_json = options["json"]
        self.actor = f"command:{self.__module__.rsplit('.', maxsplit=1)[-1]}"
        if any(map(_is_broken, options.values())):
            self.refuse("An argument is not text in UTF-8.", USAGE)
        try:
            getattr(self, options["verb"].replace("-", "_"))(options)
        except JobQueueError as error:
            raise CommandError(error.detail, returncode=_exit_code(error)) from error
        except ValidationError as error:
            raise CommandError(_in_words(error), returncode=REFUSED) from error

    def answer(self, value: Any, text: str) -> None:
        """Print the value as JSON for programs, the text for people."""
        self.stdout.write(dumps(value).decode() if self.as_json else text)

    def refuse(self, text: str, code: int = REFUSED) -> NoReturn:
        """End with an error."""
        raise CommandError(text, returncode=code)

    def tenant(self, slug: str) -> Tenant:
        """The tenant of that slug, or the end."""
        tenant = Tenant.objects.filter(slug=slug).first()
        return tenant or self.refuse(f"There is no tenant {slug!r}.", NOT_FOUND)

    def progress(self, done: int, total: int) -> None:
        """Draw a progress bar if a person watches."""
        if not sys.stderr.isatty() or total == 0:
            return
        filled = BAR_WIDTH * done // total
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        ending = "" if done < total else "\n"
        self.stderr.write(f"\r{bar} {done:,} of {total:,}", str, ending)


def positive_or_none(text: str) -> int | None:
    """A limit: a positive number, or None for `none`."""
    if text == "none":
        return None
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is neither a positive number nor 'none'")
    return int(text)


def _is_broken(option: Any) -> bool:
    """Whether it has bytes that are no text: Python keeps those as halves of surrogate pairs."""
    texts = option if isinstance(option, list) else [option]
    return any(isinstance(text, str) and re.search(r"[\ud800-\udfff]", text) for text in texts)


def _in_words(error: ValidationError) -> str:
    problems = [(name, text) for name, texts in error.message_dict.items() for text in texts]
    return "; ".join(f"{name}: {text}" for name, text in problems)


def _exit_code(error: JobQueueError) -> int:
    match error:
        case JobNotFound() | QueueNotFound():
            return NOT_FOUND
        case StatusConflict():
            return WRONG_STATUS
        case TooManyRequests():
            return LIMIT_REACHED
        case _:
            return REFUSED
