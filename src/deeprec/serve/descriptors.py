"""File descriptors of the process, shared out so that connections never take the last one."""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("deeprec.serve")
_WAITING = 256  # connections that the system accepts for us until it is their turn
_OWN = 96  # descriptors for databases, files of the run and the log, beyond those that are open
_FEWEST = 4


@dataclass(frozen=True)
class Shares:
    """How many connections may be open, and how many may wait to be accepted at once."""

    connections: int
    waiting: int


def share_out(connections: int) -> Shares:
    """Shares for so many connections; fewer, said in the log, where the system doesn't allow that many.

    Raises this process's own limit as far as it may be raised.
    """
    own = _open_now() + _OWN
    allowed = _allow(own + connections + _WAITING)
    if allowed >= own + connections + _WAITING:
        return Shares(connections, _WAITING)
    spare = max(2 * _FEWEST, allowed - own if allowed > 2 * own else allowed // 3)
    waiting = max(_FEWEST, spare // 4)
    log.warning(
        "only %d file descriptors are allowed (ulimit -n): serve.connections is %d in place of %d",
        allowed,
        spare - waiting,
        connections,
    )
    return Shares(spare - waiting, waiting)


def _allow(wanted: int) -> int:
    """The limit after raising it to what is wanted, or as far as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return max(soft, most)


def _open_now() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # no such folder on this system
        return 32
