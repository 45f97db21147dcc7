"""What `deeprec bench attack` does to a service: each hostile client gets its due, and honest ones theirs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serve_world import running, small_service
from typer.testing import CliRunner

from deeprec.bench.attack import Noticed, missed
from deeprec.bench.attacks import ATTACKS, Attack, attack_for
from deeprec.bench.rows import make_row
from deeprec.cli.app import app
from deeprec.errors import EngineError
from deeprec.serve.keyring import Keyring, add_key
from deeprec.serve.keys import SCOPES

# What an attacker gets at once; those that are left out get nothing in so short a time.
DUE = {
    "130,000 numbers as a history": {"422"},
    "an object of 20,000 keys": {"422"},
    "a thousand items, each wrong": {"422"},
    "100,000 brackets": {"400"},
    "a number of 100,000 digits": {"400"},
    "an id of control characters": {"422"},
    "a history in milliseconds": {"422"},
    "a title that is none": {"422"},
    "a history of a thousand items": {"422"},  # the small catalogue has other ids
    "a search among users": {"200"},
    "a search among items": {"200"},
    "trajectories of training": {"200"},
    "the service's description": {"200"},
    "wrong keys": {"401", "429"},
    "clicks": {"201"},
    "3,000 headers": {"400"},
    "3,000 headers behind another request": {"200"},  # the first line that comes; then 400, and it is closed
    "13,000 lines behind a body": {"400", "closed"},
    "chunks of a byte": {"400", "closed"},
    "a connection that goes at once": {"left"},
    "a stream that is left": {"left"},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("attacks")
    keys = {name: add_key(folder / "keys.toml", name, SCOPES) for name in ("honest", "attacker")}
    service, _ = small_service(folder / "store.db", "serve.rate=0", "serve.connections=64")
    with running(service, keyring=Keyring(file=folder / "keys.toml")) as client:
        yield client, keys


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attackers_get_their_due(served: tuple[httpx.Client, dict[str, str]], attack: Attack) -> None:
    client, keys = served
    found: Counter[str] = asyncio.run(
        attack_for(
            attack, "127.0.0.1", client.base_url.port or 0, keys["attacker"], "small", rate=50, seconds=0.4
        )
    )
    assert sum(found.values()) == 20
    got = {status for status in found if status != "no answer"}
    assert got <= DUE.get(attack.name, {"closed"}), found
    with httpx.Client(base_url=client.base_url, timeout=10) as own:  # a connection of its own
        headers = {"authorization": f"Bearer {keys['honest']}"}
        answer = own.post("/v1/recommendations", json={"user_id": "u1"}, headers=headers)
        assert answer.json()["stop_reason"] is not None
        assert own.get("/healthz").status_code == 200


def test_goals() -> None:
    rows = [
        make_row("/healthz p99, x", 251.0, "ms", "goal", 250.0),
        make_row("/healthz p99, y", 249.0, "ms", "goal", 250.0),
        make_row("answer p99, x", 201.0, "ms", "quiet", 100.0),
        make_row("answer p99, quiet", 100.0, "ms", "", None),
    ]
    assert [row.name for row in missed(rows)] == ["/healthz p99, x", "answer p99, x"]
    noticed = Noticed(health=[0.001] * 99 + [1.0], answers=[0.5])
    assert noticed.answer_ms() == 500
    assert noticed.health_ms() > 1


def test_an_attack_that_is_none(tmp_path: Path) -> None:
    from serve_world import run_folder

    result = CliRunner().invoke(app, ["bench", "attack", "--run", str(run_folder()), "--only", "moonlight"])
    assert isinstance(result.exception, EngineError)
    assert "no such attack; there are: 130,000 numbers" in str(result.exception)


@pytest.mark.slow
def test_the_benchmark_attacks_a_real_service() -> None:
    from serve_world import run_folder

    arguments = [
        "bench",
        "attack",
        "--run",
        str(run_folder()),
        "--seconds",
        "2",
        "--only",
        "chunks",
        "--json",
    ]
    result = CliRunner().invoke(app, [*arguments, "--stored-users", "100"])
    assert result.exit_code == 0, result.output
    assert "answer p99, chunks of a byte" in result.stdout
    assert "service's CPU, chunks of a byte" in result.stdout
