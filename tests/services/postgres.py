"""A real PostgreSQL server of the tests' own, in a temporary folder, reached by a socket in it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

_TOLD = "DEEPREC_POSTGRES_BIN"
_SETTINGS = {
    "listen_addresses": "",  # no port, so none can be taken
    "shared_buffers": "16MB",
    "max_connections": "60",
    "autovacuum": "off",
    "recovery_init_sync_method": "syncfs",  # after a kill every file is synced: one by one takes seconds
}


class Postgres:
    """One server; it may be killed, frozen and started again."""

    def __init__(self, programs: Path, folder: Path, owner: str | None) -> None:
        self.folder = folder
        self._programs = programs
        self._owner = owner
        self._server: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make the files of a new cluster."""
        command = ("initdb", "--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", "-U", "deeprec")
        done = self._run(*command, "-D", str(self.folder / "data"))
        output, _ = done.communicate(timeout=60)
        assert done.returncode == 0, output.decode()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        place = ["-D", str(self.folder / "data"), "-k", str(self.folder)]
        self._server = self._run("postgres", *place, *settings, log=self.folder / "log")
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self._address).close()
                return
            except psycopg.OperationalError:
                ended = self._server.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Shut down without writing out what is thrown away in a moment."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(30)
            self._server = None

    def kill(self) -> None:
        """Kill every process of the server at once, as a power cut would."""
        assert self._server is not None
        for process in self._processes():
            os.kill(process, signal.SIGKILL)
        self._server.wait(30)
        self._server = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within it the server is there, but does nothing."""
        processes = self._processes()
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def emptied(self) -> str:
        """The store URL of the server's one database, after all that was in it is thrown away.

        A database for each test would make every start after a kill slow: all files are synced then.
        """
        with psycopg.connect(self._address, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'deeprec' AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return f"postgresql+psycopg://deeprec@/postgres?host={quote(str(self.folder), safe='')}"

    @property
    def _address(self) -> str:
        return f"host={self.folder} user=deeprec dbname=postgres connect_timeout=2"

    def _run(self, program: str, *arguments: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        # The server refuses to run as root. Its children change their process group, so none is made for them.
        rights = {"user": self._owner, "group": self._owner, "extra_groups": []} if self._owner else {}
        command = [self._programs / program, *arguments]
        output = subprocess.PIPE if log is None else log.open("ab")
        try:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, **rights
            )
        finally:
            if log is not None:
                output.close()

    def _processes(self) -> list[int]:
        """The server's process and its children."""
        assert self._server is not None
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            parents[int(stat.parent.name)] = int(fields[1])
        server = self._server.pid
        return [server, *(process for process, parent in parents.items() if parent == server)]


def start_postgres() -> Iterator[Postgres]:
    """A running server, stopped and removed at the end; skips, with the reason, where there is none."""
    programs = _programs()
    if programs is None:
        if _TOLD in os.environ:
            pytest.fail(
                f"{_TOLD} = {os.environ[_TOLD]}: no initdb in it"
            )  # whoever sets it wants these tests
        pytest.skip(f"PostgreSQL's initdb not found: apt-get install postgresql, or set {_TOLD}")
    owner = None
    if os.geteuid() == 0:
        owner = "postgres"
        if owner not in {entry.pw_name for entry in pwd.getpwall()}:
            pytest.skip("PostgreSQL refuses to run as root, and there is no user 'postgres' to run it as")
    # Not below pytest's folder: others can't enter that, and a socket's path has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="deeprec-pg-"))
    server = Postgres(programs, folder, owner)
    try:
        if owner:
            shutil.chown(folder, owner, owner)
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """The folder with `initdb` and `postgres`: as told, on the path, or where Debian has it (newest first)."""
    told = os.environ.get(_TOLD)
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -float(folder.parent.name))
    candidates = [Path(told)] if told else [*([Path(found).parent] if found else []), *debian]
    return next((folder for folder in candidates if (folder / "initdb").is_file()), None)
