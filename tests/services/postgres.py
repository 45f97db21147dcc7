"""A real PostgreSQL server of the tests' own, which a test may freeze or empty."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from deeprec.bench.postgres import OWNER, TOLD, Postgres, can_run, find_programs, own_server


def emptied(server: Postgres) -> str:
    """The store URL of the server's one database, after all that was in it is thrown away.

    A database for each test would make every start after a kill slow: all files are synced then.
    """
    with psycopg.connect(server.address, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'deeprec' AND pid <> pg_backend_pid()"
        )
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return server.url


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """Within it the server is there, but does nothing."""
    processes = server.processes()
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def start_postgres() -> Iterator[Postgres]:
    """A running server, stopped and removed at the end; skips, with the reason, where there is none."""
    programs = find_programs()
    if programs is None:
        if TOLD in os.environ:  # whoever sets it wants these tests
            pytest.fail(f"{TOLD} = {os.environ[TOLD]}: no initdb in it")
        pytest.skip(f"PostgreSQL's initdb not found: apt-get install postgresql, or set {TOLD}")
    if not can_run():
        pytest.skip(f"PostgreSQL refuses to run as root, and there is no user '{OWNER}' to run it as")
    with own_server(programs) as server:
        yield server
