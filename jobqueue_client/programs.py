"""Jobs as runs of a program: the payload on its standard input, the result on its output.

The program finds the job in its environment: JOBQUEUE_JOB_ID, _TASK, _QUEUE, _ATTEMPT and _FENCE.
The key is not there. Needs a POSIX system.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import Any, NoReturn

from jobqueue_client.connection import KEY_VARIABLE
from jobqueue_client.errors import Discard
from jobqueue_client.models import LeasedJob
from jobqueue_client.protocol import Json
from jobqueue_client.worker import Handler

BAD_INPUT = os.EX_DATAERR if hasattr(os, "EX_DATAERR") else 65
"""The exit code (65) with which a program says that no other attempt will help."""
LOOK_SECONDS, STOP_SECONDS = 0.1, 3.0
SHOWN_CHARACTERS = 2_000


class ProgramFailed(Exception):
    """The program ended with another exit code than 0."""


class ProgramStopped(Exception):
    """The program was stopped, because its job was."""


def runs(command: str) -> Handler:
    """A handler that runs the command, without a shell. Raises `ValueError` if there is none such.

    What it prints is the result, as JSON if it is JSON, otherwise as a text.
    """
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        raise ValueError(f"There is no program for the command {command!r}.")

    def run(job: LeasedJob) -> Any:
        return _run(words, job)

    return run


def _run(words: list[str], job: LeasedJob) -> Any:
    process = subprocess.Popen(  # noqa: S603  (the command is the operator's, the input is data)
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(job),
        start_new_session=True,
    )
    with process:
        output, errors = _communicate(process, job)
    if process.returncode == 0:
        return _result(output)
    if job.stopping.is_set():
        raise ProgramStopped("The program was stopped.")
    end = errors.decode(errors="replace").strip()[-SHOWN_CHARACTERS:]
    text = f"exit code {process.returncode}: {end}".removesuffix(": ")
    raise Discard(text) if process.returncode == BAD_INPUT else ProgramFailed(text)


def _communicate(process: subprocess.Popen[bytes], job: LeasedJob) -> tuple[bytes, bytes]:
    """What it wrote, once it has ended: SIGTERM when the job is to stop, SIGKILL if it does not."""
    kill_at = float("inf")
    source: bytes | None = job.payload_text.encode()
    while True:
        try:
            return process.communicate(source, LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            now, source = time.monotonic(), None
        if job.stopping.is_set() and kill_at == float("inf"):
            kill_at = now + STOP_SECONDS
            _signal(process, signal.SIGTERM)
        elif now > kill_at:
            _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the program and all that it started."""
    with suppress(ProcessLookupError):  # it has ended just now
        os.killpg(process.pid, number)


def _environment(job: LeasedJob) -> dict[str, str]:
    about = {
        "JOBQUEUE_JOB_ID": job.id,
        "JOBQUEUE_TASK": job.task,
        "JOBQUEUE_QUEUE": job.queue,
        "JOBQUEUE_ATTEMPT": str(job.attempt),
        "JOBQUEUE_FENCE": str(job.fence),
    }
    return {name: value for name, value in os.environ.items() if name != KEY_VARIABLE} | about


def _result(output: bytes) -> Any:
    text = output.decode().strip()
    if not text:
        return None
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except ValueError:
        return text
    return Json(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON, though Python reads it")
