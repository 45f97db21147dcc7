"""`deeprec serve` as a process: its one line, its end, kill -9, refusals, and the benchmark."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from serve_world import events_of, run_folder, running, small_service, wait_until
from typer.testing import CliRunner

from deeprec.cli.app import app
from deeprec.errors import EngineError

PROGRAM = "from deeprec.cli import main; main()"


@contextmanager
def started(*arguments: str, before: str = "") -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A running `deeprec serve` and a client of it; killed at the end if it still runs. `before` runs first in it."""
    program = f"{before}\n{PROGRAM}"
    command = [sys.executable, "-c", program, "serve", str(run_folder()), "--port", "0", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEEPREC_")}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("deeprec serves on http://127.0.0.1:"), process.communicate()
        with httpx.Client(base_url=line.split()[-1], timeout=20) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


def test_what_was_acknowledged_outlives_kill_9(tmp_path: Path) -> None:
    store = ("--store", f"sqlite:///{tmp_path / 'store.db'}")
    history = {"history": [{"item_id": "i3"}, {"item_id": "i4"}]}
    feedback = {"user_id": "a", "item_id": "i5", "kind": "click", "idempotency_key": "once"}
    with started(*store) as (process, client):
        assert client.put("/v1/users/a/history", json=history).status_code == 200
        assert client.post("/v1/feedback", json=feedback).status_code == 201
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with started(*store) as (process, client):
        kept = client.get("/v1/users/a/history").json()["history"]
        assert [item["item_id"] for item in kept] == ["i3", "i4", "i5"]
        assert client.post("/v1/feedback", json=feedback).json() == {"stored": False}
        loaded = client.get("/readyz").json()["runs"][0]["loaded"]
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: client.get("/readyz").json()["runs"][0]["loaded"] > loaded, 60)
        # A stream that is under way when the end is asked for still gets its ranking.
        with client.stream("POST", "/v1/recommendations/stream", json={"user_id": "a"}) as response:
            events = events_of(response.iter_lines())
            assert next(events)[0] == "start"
            process.send_signal(signal.SIGTERM)
            assert [name for name, _ in events][-1] == "ranking"
        client.close()
        output, errors = process.communicate(timeout=20)
        assert (process.returncode, output) == (0, "")
        (line,) = errors.splitlines()
        assert "reloaded: small (warm_start " in line


def test_few_descriptors_are_enough_for_those_who_ask(tmp_path: Path) -> None:
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))"
    with started("--store", f"sqlite:///{tmp_path / 'store.db'}", before=few) as (process, client):
        address = (client.base_url.host, client.base_url.port or 0)
        silent = [socket.create_connection(address) for _ in range(300)]
        try:
            with httpx.Client(base_url=client.base_url, timeout=10) as own:
                for _ in range(3):
                    assert own.post("/v1/recommendations", json={"user_id": "u1"}).status_code == 200
        finally:
            for one in silent:
                one.close()
        client.close()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert "only 120 file descriptors are allowed" in errors
        assert len(errors.splitlines()) < 10, errors


def run(*arguments: str, **environment: str | None) -> str:
    """Output of a command that must fail with our error, not with a traceback."""
    cleared = {"DEEPREC_API_KEY": None, "DEEPREC_STORE": None}
    result = CliRunner().invoke(app, ["serve", *arguments], env=cleared | environment)
    assert result.exit_code != 0
    assert result.exception is not None
    return f"{type(result.exception).__name__}: {result.exception}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--host", "0.0.0.0"), "an API key is needed"),
        (("--host", "192.0.2.1"), "an API key is needed"),
        (("--api-key-file", "/nowhere"), "write the key into it"),
        (("--stage", "last"), "choose warm_start"),
        (("--engine", "openai"), "needs --base-url URL and --model NAME"),
        (("--base-url", "http://127.0.0.1:1"), "add --engine openai"),
        (("--engine", "openai", "--base-url", "http://h", "--model", "m", "--api-key-env", "NO_SUCH"), "export it"),
        (("/nowhere",), "no run.toml here"),
        (("RUN", "--compare", "RUN"), "two runs are called"),
        (("RUN", "--set", "serve.ports=1"), "unknown key 'serve.ports'"),
        (("RUN", "--store", "mysql://x"), "StoreError"),
        (("RUN", "--stage", "recommendation"), "has not been run"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_line(arguments: tuple[str, ...], told: str) -> None:
    given = [str(run_folder()) if argument == "RUN" else argument for argument in arguments]
    found = run(*given, "--port", "0")
    assert told in found
    assert "Error: " in found


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    assert "has 5 characters" in run("--host", "0.0.0.0", DEEPREC_API_KEY="short")
    file = tmp_path / "key"
    file.write_text("a key with spaces in it\n", encoding="utf-8")
    assert "without spaces" in run("--api-key-file", str(file))


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    from deeprec.serve.server import listen

    with listen("127.0.0.1", 0) as bound:
        bound.listen()
        port = str(bound.getsockname()[1])
        assert "choose another" in run(str(run_folder()), "--port", port)


def test_what_the_benchmark_measures(tmp_path: Path) -> None:
    from deeprec.bench.serve import Measured, _first_event, _loaded

    service, _ = small_service(tmp_path / "store.db", "serve.rate=0")
    users = ["u1", "u2", "u3"]
    with running(service) as client:
        address = f"{client.base_url.host}:{client.base_url.port}"
        measured = Measured(address, os.getpid())
        load = _loaded(measured, 3, 2, users)
        assert (load.cpu_ms is None) == (not Path("/proc").is_dir())
        assert len(load.latencies) == 6
        assert load.ms(50) <= load.ms(99) <= 1000 * load.seconds
        assert load.rate == pytest.approx(6 / load.seconds)
        assert 0 < _first_event(address, "u1") < 5
        with pytest.raises(EngineError, match="answered 422"):
            _loaded(measured, 2, 1, [" "])


@pytest.mark.slow
def test_the_benchmark_measures_a_real_service() -> None:
    arguments = ["bench", "serve", "--run", str(run_folder()), "--requests", "4", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert {
        "answer, 1 client, p50",
        "answer, 32 clients, p99",
        "first turn in a stream, 1 client, p50",
    } <= rows.keys()
    assert rows["throughput, 32 clients"]["ratio"] > 1
    assert 0 < rows["TRM alone, 1 client, p50"]["value"] < rows["answer, 32 clients, p99"]["value"]
