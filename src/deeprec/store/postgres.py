"""A PostgreSQL connection that gives up on a server which doesn't reply."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.abc import PQGen


class BoundedConnection(psycopg.Connection[Any]):
    """Closes itself when one reply takes longer than `bound` seconds.

    `lock_timeout` is the server's own, and bounds waiting for others. A server that is
    frozen, or a network that swallows packets, obeys nothing: only the client can stop.
    """

    bound: float | None = None

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """As the driver's, with `bound` where no timeout is given."""
        if timeout is not None or self.bound is None:
            return super().wait(gen, interval, timeout)
        started = time.monotonic()
        try:
            return super().wait(gen, interval, self.bound)
        except psycopg.OperationalError as error:
            if time.monotonic() - started < self.bound:
                raise
            # The reply may still come, and would be taken for that of the next statement.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no reply within {self.bound:g} s") from error
