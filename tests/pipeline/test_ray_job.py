"""A script handed to a real Ray head, started here; and what is said where nobody takes jobs.

`make engines` installs Ray in an environment of its own and runs these; elsewhere they are skipped.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deeprec.errors import ClusterError
from deeprec.launch import submit
from deeprec.launch.check import check_cluster
from deeprec.launch.submit import submit_job

pytest.importorskip("ray", reason="Ray is not installed here; `make engines` runs this with it")
pytest.importorskip(
    "aiohttp_cors", reason="Ray's extra `default` is not installed here; `make engines` has it"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


@dataclass(frozen=True)
class Head:
    """Where it takes jobs, and where others join it."""

    jobs: str
    cluster: str


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A cluster of this machine alone."""
    port, dashboard = free_port(), free_port()
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    options = [
        f"--port={port}",
        f"--dashboard-port={dashboard}",
        "--dashboard-host=127.0.0.1",
        "--num-cpus=2",
    ]
    environment = {**os.environ, "RAY_raylet_start_wait_time_s": "300", "RAY_AUTH_MODE": "disabled"}
    started = subprocess.Popen(
        [*ray, "start", "--head", "--block", "--disable-usage-stats", *options],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(f"http://127.0.0.1:{dashboard}")
        yield Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}")
    finally:
        started.terminate()
        started.wait(60)


def _wait_for(address: str) -> None:
    """Until the head takes jobs: on a busy machine that is later than its dashboard answers."""
    from ray.job_submission import JobSubmissionClient

    for _ in range(200):
        try:
            JobSubmissionClient(address).submit_job(entrypoint="true")
            return
        except (ConnectionError, RuntimeError):
            time.sleep(1)
    raise TimeoutError(f"{address} takes no jobs")


def test_a_job_runs_the_script_and_a_cluster_without_gpus_is_told_so(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.job_submission import JobStatus, JobSubmissionClient

    script = tmp_path / "a run" / "train.sh"
    script.parent.mkdir()
    script.write_text(f'echo "trained" > "{tmp_path}/done"\n')
    client = JobSubmissionClient(head.jobs)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # of another cluster: the address that is named counts
    job = submit_job(script, head.jobs)
    monkeypatch.setenv("RAY_ADDRESS", head.cluster)
    for _ in range(300):
        status = client.get_job_status(job)
        if status.is_terminal():
            break
        time.sleep(1)
    assert status == JobStatus.SUCCEEDED, client.get_job_logs(job)
    assert (tmp_path / "done").read_text() == "trained\n"
    with pytest.raises(
        ClusterError, match="too small for --nodes 2 --gpus 8: its machines have 0 GPUs; it has no"
    ):
        check_cluster(2, 8)


def test_an_address_where_nobody_takes_jobs_is_tried_and_the_script_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(
        ClusterError, match=rf"--submit {address}: can't be reached .*tried 3 times.*`bash .*train.sh`"
    ):
        submit_job(tmp_path / "train.sh", address)
    with pytest.raises(ClusterError, match="--submit nowhere: is no address"):
        submit_job(tmp_path / "train.sh", "nowhere")
    server = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)  # somebody who is no head
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(submit, "_PAUSE", 0.01)
    with pytest.raises(ClusterError, match=r"takes no jobs .*tried 3 times; the script stays"):
        submit_job(tmp_path / "train.sh", f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
