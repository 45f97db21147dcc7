"""Who asked for what, a line each: names of keys, routes and pseudonyms of users; no history, no id, no title."""

from __future__ import annotations

import json
import logging
import queue
import time
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, WatchedFileHandler
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from deeprec.errors import ConfigError, DataError
from deeprec.serve.callers import caller_of, user_of
from deeprec.serve.keys import network_of
from deeprec.serve.statuses import StatusOf, method_of
from deeprec.serve.users import StoreDoor

log = logging.getLogger("deeprec.serve")
_REFUSED = (401, 403, 429)


class _Lines(WatchedFileHandler):
    """The file; one that was moved away by a log rotation is made anew. A full disk is told, and stops nobody."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        log.warning("%s: the audit can't be written; free space on its disk", self.baseFilename)


class Audit:
    """The file of audit lines, which a thread of its own writes."""

    def __init__(self, file: Path, door: StoreDoor) -> None:
        """`door` leads to the store that has the pseudonyms. Raises ConfigError for a file that can't be had."""
        self._door = door
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            lines = _Lines(file, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"--audit {file}: can't be written ({error.strerror}); name another file"
            ) from None
        records: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._handler = QueueHandler(records)
        self._listener = QueueListener(records, lines)
        self._lines = lines
        self._listener.start()

    def write(self, scope: Scope, status: int) -> None:
        """Write down a request that was answered, if it was about anybody or was refused."""
        caller, user = caller_of(scope), user_of(scope)
        if user is None and status not in _REFUSED:
            return
        route = getattr(scope.get("route"), "path", "none")
        tenant = caller.tenant if caller else ""
        line = {
            "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
            "key": caller.name if caller else None,
            "tenant": tenant,
            "from": network_of(scope["client"][0]) if scope.get("client") else "unknown",
            "did": f"{method_of(scope)} {route}",
            "user": None if user is None else self._pseudonym(user, tenant),
            "status": status,
        }
        self._handler.emit(logging.makeLogRecord({"msg": json.dumps(line), "levelno": logging.INFO}))

    def close(self) -> None:
        """Write what is left."""
        self._listener.stop()
        self._lines.close()

    def _pseudonym(self, user_id: str, tenant: str) -> str | None:
        store = self._door.opened
        try:
            return None if store is None else store.of(tenant).pseudonym(user_id)
        except DataError:  # what was asked for is no user's id
            return None


class Audited:
    """Has each request written down once it is answered."""

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app, self._audit = app, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watched = StatusOf(send)
        try:
            await self._app(scope, receive, watched)
        finally:
            self._audit.write(scope, watched.status)
