"""A newly trained run takes the place of the one that answers, and no request is dropped; `/readyz` tells how it is."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_world import events_of, run_folder, running, wait_until

from deeprec.serve.keyring import Keyring, add_key
from deeprec.serve.loading import Plan, load_service, open_service
from deeprec.serve.service import Service


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs, and `current`, a link that names the first."""
    made = []
    for name in ("monday", "tuesday"):
        made.append(tmp_path / name)
        shutil.copytree(run_folder(), made[-1])
    (tmp_path / "current").symlink_to(made[0])
    return made[0], made[1]


@contextmanager
def serving(folder: Path, *overrides: str) -> Iterator[tuple[httpx.Client, Service]]:
    store = f"sqlite:///{folder.parent / 'store.db'}"
    service, _ = load_service([folder], store=store, overrides=["serve.rate=0", *overrides])
    with running(service) as client:
        yield client, service


def turn(link: Path, target: Path) -> None:
    """Have the link name another run, at once."""
    new = link.with_suffix(".new")
    new.symlink_to(target)
    new.replace(link)


def ready(client: httpx.Client) -> dict[str, Any]:
    response = client.get("/readyz")
    assert response.status_code == 200
    return response.json()


def test_requests_go_on_while_another_run_takes_over(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    link = tmp_path / "current"
    over, served = threading.Event(), []

    def ask(client: httpx.Client, number: int) -> None:
        user = 0
        with httpx.Client(base_url=client.base_url, timeout=20) as own:
            while not over.is_set():
                user += 1
                body = {"user_id": f"u{(number * 7 + user) % 39 + 1}"}
                if number % 3:
                    answer = own.post("/v1/recommendations", json=body)
                    served.append((answer.status_code, answer.json().get("run")))
                else:
                    with own.stream("POST", "/v1/recommendations/stream", json=body) as response:
                        name, data = list(events_of(response.iter_lines()))[-1]
                        served.append((response.status_code if name == "ranking" else 0, data.get("run")))

    with serving(link) as (client, service), ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask, client, number) for number in range(6)]
        wait_until(lambda: len(served) > 20)
        (former,) = service.runs
        assert [run["name"] for run in ready(client)["runs"]] == ["monday"]
        turn(link, folders[1])
        assert client.post("/v1/reload").json() == {"started": True}
        assert client.post("/v1/reload").json() == {"started": False}
        assert ready(client)["loading"]
        wait_until(lambda: [run["name"] for run in ready(client)["runs"]] == ["tuesday"], 60)
        now = len(served)
        wait_until(lambda: len(served) > now + 20)
        assert not ready(client)["loading"]
        over.set()
        for one in asking:
            one.result(20)
        wait_until(lambda: not former.is_ready)  # its threads ended, once nobody asked it any more
        assert threading.active_count() < 60
    assert {status for status, _ in served} == {200}
    names = [name for _, name in served]
    assert names[0] == "monday"
    assert names[-1] == "tuesday"


def test_a_run_that_is_being_trained_or_broken_changes_nothing(
    tmp_path: Path, folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    monday, _ = folders
    with serving(monday) as (client, service):
        caplog.handler.filters.clear()  # a service that ran before lets lines of one kind through rarely

        def reload() -> dict[str, Any]:
            caplog.clear()
            assert service.start_reload()
            wait_until(lambda: not service.is_loading, 60)
            return ready(client)

        first = ready(client)["runs"]
        with _in_another_process(monday):
            found = reload()
            assert "is being written by" in caplog.text
        assert found["runs"] == first
        assert "the last reload failed" in found["problem"]
        assert str(tmp_path) not in str(found)
        weights = next((monday / "policy").rglob("*.safetensors"))
        whole = weights.read_bytes()
        weights.write_bytes(whole[: len(whole) // 2])
        assert reload()["runs"] == first
        assert "not reloaded, the present runs go on" in caplog.text
        assert client.post("/v1/recommendations", json={"user_id": "u1"}).json()["stop_reason"] is not None
        weights.write_bytes(whole)
        found = reload()
        assert found["problem"] is None
        assert found["runs"][0]["loaded"] > first[0]["loaded"]
        assert found["runs"][0]["version"] == first[0]["version"] != "unknown"


@contextmanager
def _in_another_process(folder: Path) -> Iterator[None]:
    import subprocess
    import sys

    program = (
        "import sys, time; from pathlib import Path; from deeprec.run import writing\n"
        "with writing(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield
        finally:
            process.kill()


def test_before_it_is_loaded_it_says_so(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    plan = Plan((folders[0],), overrides=("serve.rate=0",))
    service, _ = open_service(plan, f"sqlite:///{tmp_path / 'store.db'}")
    with running(service) as client:
        assert client.get("/healthz").status_code == 200
        for method, path, body in (
            ("GET", "/readyz", None),
            ("GET", "/v1/runs", None),
            ("GET", "/v1/items", None),
            ("POST", "/v1/reload", None),
            ("POST", "/v1/recommendations", {"user_id": "u1"}),
            ("PUT", "/v1/users/u1/history", {"history": [{"item_id": "i1"}]}),
        ):
            answer = client.request(method, path, json=body)
            assert answer.status_code == 503, path
            assert answer.headers["retry-after"] == "2"
            assert "is being loaded" in answer.json()["detail"]
        service.load()
        assert ready(client)["loading"] is False
        assert client.post("/v1/recommendations", json={"user_id": "u1"}).status_code == 200


def test_reloading_needs_its_scope(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    file = tmp_path / "keys.toml"
    keys = {scope: add_key(file, scope, [scope]) for scope in ("admin", "write")}
    service, _ = load_service([folders[0]], store=f"sqlite:///{tmp_path / 'store.db'}")
    with running(service, keyring=Keyring(file=file)) as client:
        statuses = {
            scope: client.post("/v1/reload", headers={"authorization": f"Bearer {key}"}).status_code
            for scope, key in keys.items()
        }
        wait_until(lambda: not service.is_loading, 60)
    assert statuses == {"admin": 202, "write": 403}
