"""A real PostgreSQL server of one's own, in a temporary folder, reached by a socket in it: to be killed at will."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

from deeprec.errors import EngineError

TOLD = "DEEPREC_POSTGRES_BIN"
OWNER = "postgres"  # who runs it where we are root, as it refuses that
_START = 30.0  # seconds that it may take to answer, a recovery after a kill included
_SETTINGS = {
    "listen_addresses": "",  # no port, so none can be taken
    "shared_buffers": "16MB",
    "max_connections": "60",
    "autovacuum": "off",
    "recovery_init_sync_method": "syncfs",  # after a kill every file is synced: one by one takes seconds
}


class Postgres:
    """One server; it may be killed and started again, and what it acknowledged is there."""

    def __init__(
        self, programs: Path, folder: Path, owner: str | None, settings: Mapping[str, str] | None = None
    ) -> None:
        """Files, socket and log lie in `folder`, which `owner` can write (None: whoever we are)."""
        self.folder = folder
        self._programs = programs
        self._owner = owner
        self._settings = {**_SETTINGS, **(settings or {})}
        self._server: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make the files of a new cluster; raises EngineError where that fails."""
        command = ("initdb", "--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", "-U", "deeprec")
        done = self._run(*command, "-D", str(self.folder / "data"))
        output, _ = done.communicate(timeout=60)
        if done.returncode:
            raise EngineError(f"{self.folder}: no PostgreSQL can be made here: {output.decode()}")

    def start(self) -> None:
        """Start the server and wait until it answers; raises EngineError, with its log, where it doesn't."""
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        place = ["-D", str(self.folder / "data"), "-k", str(self.folder)]
        self._server = self._run("postgres", *place, *settings, log=self.folder / "log")
        deadline = time.monotonic() + _START
        while True:
            try:
                psycopg.connect(self.address).close()
                return
            except psycopg.OperationalError:
                ended = self._server.poll() is not None
                if ended or time.monotonic() > deadline:
                    log = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
                    raise EngineError(f"{self.folder}: PostgreSQL doesn't answer: {log[-2000:]}") from None
                time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._server is not None and self._server.poll() is None

    def stop(self) -> None:
        """Shut down without writing out what is thrown away in a moment."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(30)
            self._server = None

    def kill(self) -> None:
        """Kill every process of the server at once, as a power cut would."""
        if self._server is None:
            return
        for process in self.processes():
            os.kill(process, signal.SIGKILL)
        self._server.wait(30)
        self._server = None

    @property
    def url(self) -> str:
        """The store URL of its one database."""
        return f"postgresql+psycopg://deeprec@/postgres?host={quote(str(self.folder), safe='')}"

    @property
    def address(self) -> str:
        """The same place as psycopg itself writes it."""
        return f"host={self.folder} user=deeprec dbname=postgres connect_timeout=2"

    def processes(self) -> list[int]:
        """The server's process and its children."""
        if self._server is None:
            return []
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            parents[int(stat.parent.name)] = int(fields[1])
        server = self._server.pid
        return [server, *(process for process, parent in parents.items() if parent == server)]

    def _run(self, program: str, *arguments: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        # Its children change their process group, so none is made for them.
        command = [str(self._programs / program), *arguments]
        groups: list[str] | None = [] if self._owner else None
        with (Path(os.devnull) if log is None else log).open("ab") as stream:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=subprocess.PIPE if log is None else stream,
                stderr=subprocess.STDOUT, user=self._owner, group=self._owner, extra_groups=groups,
            )  # fmt: skip


def find_programs() -> Path | None:
    """The folder with `initdb` and `postgres`: as told, on the path, or where Debian has it (newest first)."""
    told = os.environ.get(TOLD)
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -float(folder.parent.name))
    candidates = [Path(told)] if told else [*([Path(found).parent] if found else []), *debian]
    return next((folder for folder in candidates if (folder / "initdb").is_file()), None)


def can_run() -> bool:
    """Whether there is somebody to run it as."""
    return os.geteuid() != 0 or OWNER in {entry.pw_name for entry in pwd.getpwall()}


@contextmanager
def own_server(
    programs: Path, folder: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Postgres]:
    """A running server, stopped and removed at the end; `folder` is an empty one for its files (none: temporary).

    Not below a folder that others can't enter; and a socket's path has 107 characters at most.
    """
    owner = OWNER if os.geteuid() == 0 else None
    place = folder or Path(tempfile.mkdtemp(prefix="deeprec-pg-"))
    server = Postgres(programs, place, owner, settings)
    try:
        if owner:
            shutil.chown(place, owner, owner)
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)
