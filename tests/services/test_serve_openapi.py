"""The published description: valid, complete, and true of every answer that a fuzzer gets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema_rs
import pytest
from serve_world import running, small_service

EXAMPLES = 6  # random ones of each operation, besides every boundary that the description names
# A body may be as described and still name an item, a user or a run that isn't there.
SETTINGS = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "404", "422"]
[dictionaries]
items = {values = ["i1", "i2", "i3"]}
users = {values = ["u1", "u2"]}
runs = {values = ["small"]}
[parameters]
"path.run" = {dictionary = "runs"}
"body.item_id" = {dictionary = "items"}
"body.user_id" = {dictionary = "users", probability = 0.8}
"body.run" = {dictionary = "runs", probability = 0.8}
"body.history[*].item_id" = {dictionary = "items", probability = 0.8}
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    store = tmp_path_factory.mktemp("store") / "store.db"
    service, _ = small_service(store, "serve.rate=0", "serve.deadline=1", "serve.max_deadline=1")
    with running(service) as opened:
        yield opened


def test_every_operation_names_its_problems(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) == 16
    for method, path, operation in operations:
        assert operation["summary"], path
        wanted = {"400", "401", "422", "429", "500"} | (
            {"413", "415"} if "requestBody" in operation else set()
        )
        assert wanted <= operation["responses"].keys(), (method, path)
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (method, path, status)


def test_a_fuzzer_finds_nothing(client: httpx.Client, tmp_path: Path) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings), "run",
        f"{client.base_url.copy_with(path='/openapi.json')}", "--checks", "all", "--phases", "coverage,fuzzing",
        "--max-examples", str(EXAMPLES), "--seed", "1", "--no-color", "--generation-database", "none",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout[done.stdout.find("SUMMARY") :])
