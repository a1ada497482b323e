"""The command line: its verbs and their options, in the words of `manage.py jobs`."""

import math
from argparse import SUPPRESS, Action, ArgumentError, ArgumentParser, ArgumentTypeError
from typing import Any

from jobqueue_client.programs import runs

EXIT_CODES = (
    "exit codes: 0 done, 1 refused, 2 usage, 3 not found, 4 wrong status, 5 limit reached, "
    "6 no answer, 7 the job is not done"
)
FILTER_HELP = 'such as: error:"timed out" created:>2h -tag:test'
LISTED_BY = ("status", "queue", "task", "tag", "filter")
KIND = ("queue", "task", "error_type")
DEFAULT_TASK, GIVE_UP_AFTER_SECONDS = "echo", 30.0


def command_line() -> ArgumentParser:
    """The verbs and their options."""
    parser = ArgumentParser(
        "python -m jobqueue_client", description="The job queue from a shell.", epilog=EXIT_CODES
    )
    _add_connection(parser)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_submission(_add_verb(verbs, "submit", "Submit a job."))
    every = _add_verb(verbs, "list", "List jobs, newest first.")
    _add_filters(every, *LISTED_BY)
    every.add_argument("--limit", type=int, default=50, help="default: %(default)s")
    for verb, text in (
        ("show", "Show jobs with their failed attempts."),
        ("why", "Say why jobs do not run now."),
        ("cancel", "Cancel jobs; running ones stop at their worker's next heartbeat."),
        ("retry", "Run failed or dead jobs now."),
    ):
        _add_verb(verbs, verb, text).add_argument("ids", metavar="ID", nargs="+")
    log = _add_verb(verbs, "logs", "Print what a job has logged.")
    log.add_argument("id", metavar="ID")
    log.add_argument("--attempt", type=_at_least_one, metavar="N", help="only of this attempt")
    log.add_argument("--follow", action="store_true", help="go on until the job has ended")
    _add_filters(
        _add_verb(verbs, "dlq", "Count dead letters by queue, task and error."), *KIND, "filter"
    )
    sent_back = _add_verb(verbs, "redrive", "Send dead letters back.")
    sent_back.add_argument("ids", metavar="ID", nargs="*")
    _add_filters(sent_back, *KIND, "filter")
    sent_back.add_argument("--all", action="store_true", help="every dead letter there is")
    stopped = _add_verb(verbs, "pause", "Start no more jobs of a queue; running ones go on.")
    stopped.add_argument("queue", metavar="QUEUE")
    stopped.add_argument("--reason", metavar="TEXT", help="everybody who sees the queue reads it")
    _add_verb(verbs, "resume", "Start jobs of a queue again.").add_argument(
        "queue", metavar="QUEUE"
    )
    _add_work(_add_verb(verbs, "work", "Run jobs of this tenant by programs of this machine."))
    return parser


def _add_connection(parser: ArgumentParser) -> None:
    """Before the verb or after it; without a default, which the other place would win over."""
    group = parser.add_argument_group("the queue")
    group.add_argument("--url", default=SUPPRESS, help="its address; default: JOBQUEUE_URL")
    group.add_argument(
        "--key",
        default=SUPPRESS,
        help="a key of the tenant; default: JOBQUEUE_KEY, which no list of processes shows",
    )
    group.add_argument(
        "--give-up-after",
        type=float,
        metavar="SECONDS",
        default=SUPPRESS,
        help=f"how long a call is tried for; default: {GIVE_UP_AFTER_SECONDS:g}",
    )
    group.add_argument(
        "--json", action="store_true", default=SUPPRESS, help="answer in JSON, for programs"
    )


def _add_verb(verbs: Any, name: str, text: str) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(name, help=text, description=text, epilog=EXIT_CODES)
    _add_connection(parser)
    return parser


def _add_submission(parser: ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", nargs="?", default=DEFAULT_TASK)
    parser.add_argument("--payload", metavar="JSON", help="- reads it from standard input")
    parser.add_argument("--queue", help="default: the task's own")
    parser.add_argument("--priority", type=_integer_or_word, help="-100 to 100, low, normal, high")
    parser.add_argument("--delay", type=_seconds, dest="delay_seconds", metavar="SECONDS")
    parser.add_argument("--run-at", metavar="TIME", help="RFC 3339, with an offset")
    parser.add_argument("--max-retries", type=int, metavar="N")
    parser.add_argument("--timeout", type=_seconds, dest="timeout_seconds", metavar="SECONDS")
    parser.add_argument("--tag", action="append", dest="tags", metavar="TAG", help="repeatable")
    parser.add_argument(
        "--worker-tag",
        action="append",
        dest="worker_tags",
        metavar="TAG",
        help="a tag that its worker must have; repeatable",
    )
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key, the same job")
    parser.add_argument(
        "--wait",
        type=float,
        nargs="?",
        const=float("inf"),
        metavar="SECONDS",
        help="until it has ended, at most so long, and print its result",
    )


def _add_work(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--task",
        action=_Programs,
        dest="tasks",
        required=True,
        metavar="NAME=COMMAND",
        help="runs the command for each job of the task: the payload on its standard input, the "
        "result on its output; exit code 0 is done, 65 a dead letter at once, any other a failed "
        "attempt; repeatable",
    )
    parser.add_argument("--queue", action="append", dest="queues", help="default: all; repeatable")
    parser.add_argument(
        "--tag",
        action="append",
        dest="tags",
        help="what this worker has of worker tags; repeatable",
    )
    parser.add_argument(
        "--slots",
        type=_at_least_one,
        default=1,
        metavar="N",
        help="jobs at a time; default: %(default)s",
    )
    parser.add_argument(
        "--lease", type=_seconds, default=30, metavar="SECONDS", help="default: %(default)s"
    )
    parser.add_argument("--name", help="what the queue calls this worker; default: the machine's")
    parser.add_argument("--drain", action="store_true", help="end when there is no job left")


class _Programs(Action):
    """Collects NAME=COMMAND."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        name, equals, command = values.partition("=")
        if not (name and equals):
            raise ArgumentError(self, f"{values!r} is not NAME=COMMAND")
        try:
            handler = runs(command)
        except ValueError as error:
            raise ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), name: handler})


def _add_filters(parser: ArgumentParser, *names: str) -> None:
    for name in names:
        text = FILTER_HELP if name == "filter" else f"only those of this {name}"
        parser.add_argument(f"--{name.replace('_', '-')}", help=text)


def _integer_or_word(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdecimal() else text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)
