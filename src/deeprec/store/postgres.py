"""A PostgreSQL connection that gives up on a server which doesn't answer."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus


class BoundedConnection(psycopg.Connection[Any]):
    """Closes itself when one answer takes longer than `bound` seconds.

    `lock_timeout` is the server's own, and bounds waiting for others. A server that is
    frozen, or a network that swallows packets, obeys nothing: only the client can stop.
    """

    bound: float | None = None

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """As the driver's, with `bound` where no timeout is given."""
        try:
            return super().wait(gen, interval, self.bound if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                # The answer may still come: what is said on this connection next would be taken for it.
                self.pgconn.finish()
                raise psycopg.OperationalError(f"no answer within {self.bound:g} s") from error
            raise
