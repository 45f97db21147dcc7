"""Hands a script to a Ray cluster as a job."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeprec.batch.cluster import knock
from deeprec.errors import ClusterError, MissingExtraError, first_line

_ADDRESS = "RAY_API_SERVER_ADDRESS"
_TRIES, _PAUSE = 3, 5.0  # times that a job is handed over, seconds between


def submit_job(script: Path, address: str) -> str:
    """Have the cluster whose dashboard is at `address` run a script; returns the job's id.

    The script must lie at the same path on the cluster's head. Raises MissingExtraError without Ray, ClusterError
    where nobody takes jobs there.
    """
    client_of, refusals = _job_client()
    url = address if "://" in address else f"http://{address}"
    asked, command = f"--submit {address}", f"bash {shlex.quote(str(script))}"
    go_on = f"the script stays: `{command}` on the head does the same"
    try:
        knock(url, asked)
    except ClusterError as error:
        raise ClusterError(f"{error}; {go_on}") from None
    for number in range(1, _TRIES + 1):
        try:
            with _only(url):
                return str(client_of(url).submit_job(entrypoint=command))
        except (refusals, ConnectionError, RuntimeError, OSError, ValueError) as error:
            refused = f"takes no jobs ({first_line(error)}), tried {number} times"
            time.sleep(_PAUSE if number < _TRIES else 0.0)  # a head that has just been started takes none yet
    raise ClusterError(f"{asked}: {refused}; {go_on}")


@contextmanager
def _only(url: str) -> Iterator[None]:
    """Ray puts addresses in its environment above the one that it is given: within the block that is this one."""
    before = os.environ.get(_ADDRESS)
    os.environ[_ADDRESS] = url
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ADDRESS]
        else:
            os.environ[_ADDRESS] = before


def _job_client() -> tuple[Any, Any]:
    """Ray's client of jobs, and what its own errors derive from."""
    try:
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient
    except ImportError:  # of Ray itself, or of what its extra `default` brings
        raise MissingExtraError("--submit", "ray") from None
    return JobSubmissionClient, RayError
