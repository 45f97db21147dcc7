"""What the service writes about itself: few lines, however often something happens."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

_EVERY = 10.0  # seconds between two lines of one kind
_KINDS = 1000  # of lines that are remembered


class Rare(logging.Filter):
    """Lets one warning of a kind pass in ten seconds, and says how many it held back.

    Of a kind are those of one place in the code, and of one error's type. Lower levels are
    nobody's alarm and pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[
            tuple[str, int, str], list[float]
        ] = {}  # kind -> when it passed, how many were held back

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        kind, now = (record.pathname, record.lineno, error), self._clock()
        entry = self._seen.get(kind, [-_EVERY, 0])  # in hand: another thread may clear the table meanwhile
        passed, held = entry
        if now - passed < _EVERY:
            entry[1] += 1
            return False
        if held:
            record.msg, record.args = f"{record.getMessage()} (and {int(held)} more like it)", ()
        if len(self._seen) >= _KINDS:
            self._seen.clear()
        self._seen[kind] = [now, 0]
        return True


def set_up_logs(*, verbose: bool) -> None:
    """Warnings of everybody on standard error; with `verbose` a line for each request."""
    handler = logging.StreamHandler()
    handler.addFilter(Rare())  # to our own alone: handlers that are there already are their owner's
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler])
    logging.getLogger("deeprec").setLevel(logging.INFO if verbose else logging.WARNING)


def quiet_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop tell of its own trouble in a line: no traceback for each connection that isn't accepted."""
    log = logging.getLogger("deeprec.serve")

    def handle(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError):
            log.warning("%s: %s", context.get("message", "a connection failed"), error.strerror or error)
        else:
            loop.default_exception_handler(dict(context))

    loop.set_exception_handler(handle)
