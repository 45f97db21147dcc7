"""Keys with names, scopes and tenants: who may do what, whose users they see, rotation, guesses, the audit."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_world import running, small_environment, small_service, wait_until
from typer.testing import CliRunner

from deeprec.cli.app import app
from deeprec.errors import ConfigError
from deeprec.serve.audit import Audit
from deeprec.serve.keyring import Keyring, add_key, read_keys, remove_key, retire_secrets, rotate_key
from deeprec.serve.keys import SCOPES, Caller, network_of

ASK = {"user_id": "u1", "mode": "trm"}
CALLS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "recommend": ("POST", "/v1/recommendations", ASK),
    "stream": ("POST", "/v1/recommendations/stream", ASK),
    "put": ("PUT", "/v1/users/mine/history", {"history": [{"item_id": "i1"}]}),
    "feedback": ("POST", "/v1/feedback", {"user_id": "mine", "item_id": "i2", "kind": "click"}),
    "history": ("GET", "/v1/users/mine/history", None),
    "users": ("GET", "/v1/users", None),
    "trajectories": ("GET", "/v1/runs/small/trajectories", None),
    "measures": ("GET", "/metrics", None),
    "delete": ("DELETE", "/v1/users/mine", None),
    "items": ("GET", "/v1/items", None),
    "runs": ("GET", "/v1/runs", None),
}
NEEDED = {
    "recommend": "recommend", "stream": "recommend", "put": "write", "feedback": "write", "delete": "write",
    "history": "read", "users": "read", "trajectories": "read", "measures": "admin", "items": None, "runs": None,
}  # fmt: skip


class Keys:
    """A service with a file of keys, and clients that have one each."""

    def __init__(self, client: httpx.Client, file: Path) -> None:
        self.client, self.file = client, file
        self._keys = {scope: add_key(file, scope, [scope]) for scope in SCOPES}
        self._keys["all"] = add_key(file, "all", SCOPES)
        self._keys["other"] = add_key(file, "other", SCOPES, "shop-b")

    def call(self, key: str, name: str) -> httpx.Response:
        method, path, body = CALLS[name]
        return self.send(self._keys[key], method, path, body)

    def send(self, key: str, method: str, path: str, body: object = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._keys.get(key, key)}"}
        return self.client.request(method, path, json=body, headers=headers)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    folder = tmp_path_factory.mktemp("keys")
    service, _ = small_service(folder / "store.db", "serve.rate=0")
    made = Keys(httpx.Client(), folder / "keys.toml")
    with running(service, keyring=Keyring(file=folder / "keys.toml")) as client:
        made.client = client
        yield made


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_does_what_its_scope_says_and_nothing_else(keys: Keys, scope: str) -> None:
    keys.call("all", "put")
    for name, needed in NEEDED.items():
        answer = keys.call(scope, name)
        if needed in (None, scope):
            assert answer.status_code < 300, (name, answer.text)
        else:
            assert answer.status_code == 403, name
            assert f"the scope '{needed}'; this one has: {scope}" in answer.json()["detail"]


def test_a_tenant_sees_its_own_users_alone(keys: Keys) -> None:
    assert keys.call("all", "put").status_code == 200
    # Neither those that others stored nor those of the data set.
    for user in ("mine", "u1"):
        assert keys.send("other", "GET", f"/v1/users/{user}/history").status_code == 404
        assert keys.send("other", "DELETE", f"/v1/users/{user}").status_code == 404
        answer = keys.send("other", "POST", "/v1/recommendations", {"user_id": user}).json()
        assert answer["reason"].startswith("newcomer")
    assert keys.call("other", "users").json() == {"users": []}
    assert keys.call("other", "trajectories").status_code == 403
    # The same id is another user there.
    sent = {"history": [{"item_id": "i9"}]}
    assert keys.send("other", "PUT", "/v1/users/mine/history", sent).status_code == 200
    assert keys.send("other", "GET", "/v1/users/mine/history").json()["history"][0]["item_id"] == "i9"
    assert keys.call("all", "history").json()["history"][0]["item_id"] == "i1"
    assert keys.send("other", "DELETE", "/v1/users/mine").status_code == 204
    assert keys.call("all", "history").status_code == 200
    click = {"user_id": "u1", "item_id": "i3", "kind": "click"}
    assert keys.send("other", "POST", "/v1/feedback", click).status_code == 201
    known = [item["item_id"] for item in keys.send("all", "GET", "/v1/users/u1/history").json()["history"]]
    dataset = small_environment().dataset
    assert known == [dataset.catalog[item].item_id for item in dataset.known_history("u1").history]


def test_a_stream_shows_no_history_to_who_may_not_read_any(keys: Keys) -> None:
    def start(key: str, body: dict[str, Any]) -> list[str]:
        answer = keys.send(key, "POST", "/v1/recommendations/stream", body)
        line = next(line for line in answer.text.splitlines() if line.startswith("data: "))
        return [item["item_id"] for item in json.loads(line.removeprefix("data: "))["history"]]

    assert len(start("all", ASK)) == 3
    assert start("recommend", ASK) == []
    assert start("recommend", {"history": [{"item_id": "i4"}]}) == ["i4"]


def test_keys_change_without_a_restart(keys: Keys) -> None:
    def works(key: str) -> bool:
        return keys.send(key, "GET", "/v1/runs").status_code == 200

    first = add_key(keys.file, "turned", ["recommend"])
    wait_until(lambda: works(first))
    second = rotate_key(keys.file, "turned")
    wait_until(lambda: works(second))
    assert works(first)
    assert retire_secrets(keys.file, "turned") == 1
    wait_until(lambda: not works(first))
    assert works(second)
    whole = keys.file.read_text(encoding="utf-8")
    keys.file.write_text(whole[:-40], encoding="utf-8")  # somebody's editor saves half of it
    time.sleep(1.1)
    assert works(second)
    keys.file.write_text(whole, encoding="utf-8")
    remove_key(keys.file, "turned")
    wait_until(lambda: not works(second))


def test_guesses_are_few_for_a_whole_network_and_stop_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    key = add_key(file, "web", ["recommend"])
    service, _ = small_service(tmp_path / "store.db", "serve.rate=0")
    with running(service, keyring=Keyring(file=file)) as client:
        port = client.base_url.port

        def guess(source: str, given: str) -> int:
            transport = httpx.HTTPTransport(local_address=source)
            with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}") as own:
                return own.get("/v1/runs", headers={"authorization": f"Bearer {given}"}).status_code

        statuses = [guess(f"127.0.0.{number % 50 + 1}", f"{'x' * 20}{number}") for number in range(40)]
        assert statuses[:10] == [401] * 10
        assert statuses.count(401) < 20
        assert guess("127.9.9.9", "another wrong guess") == 429
        assert guess("127.9.9.9", key) == 200  # who has a key isn't held up
        assert client.get("/v1/runs").status_code == 401  # nor is who has none taken for a guesser


def test_addresses_of_one_client() -> None:
    assert {network_of(one) for one in ("127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.2")} == {
        "loopback"
    }
    assert (
        network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::") != network_of("2001:db8:1:3::")
    )
    assert network_of("192.0.2.7") != network_of("192.0.2.8")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("nonsense") == "unknown"


def test_the_audit_has_names_and_no_history(tmp_path: Path) -> None:
    file, lines = tmp_path / "keys.toml", tmp_path / "logs" / "audit.jsonl"
    service, _ = small_service(tmp_path / "store.db", "serve.rate=0")
    keys = Keys(httpx.Client(), file)
    with running(service, keyring=Keyring(file=file), audit=Audit(lines, service.door)) as client:
        keys.client = client
        for name in ("put", "recommend", "feedback", "history", "items", "delete"):
            assert keys.call("all", name).status_code < 300
        keys.call("write", "history")
        keys.send("a wrong key that is long", "GET", "/v1/users/mine/history")
        # A log rotation moves the file away.
        wait_until(lambda: lines.read_text(encoding="utf-8").count("\n") == 7)
        lines.rename(lines.with_suffix(".1"))
        keys.call("other", "put")
        mine, others = (service.door.open().of(tenant).pseudonym("mine") for tenant in ("", "shop-b"))
    found = [json.loads(line) for line in lines.with_suffix(".1").read_text(encoding="utf-8").splitlines()]
    assert [(one["key"], one["did"], one["status"]) for one in found] == [
        ("all", "PUT /v1/users/{user_id:path}/history", 200),
        ("all", "POST /v1/recommendations", 200),
        ("all", "POST /v1/feedback", 201),
        ("all", "GET /v1/users/{user_id:path}/history", 200),
        ("all", "DELETE /v1/users/{user_id:path}", 204),
        ("write", "GET /v1/users/{user_id:path}/history", 403),
        (None, "GET none", 401),
    ]
    assert [one["user"] for one in found if one["did"].startswith(("PUT", "DELETE"))] == [mine, mine]
    (last,) = map(json.loads, lines.read_text(encoding="utf-8").splitlines())
    assert (last["tenant"], last["user"], last["from"]) == ("shop-b", others, "loopback")
    whole = lines.with_suffix(".1").read_text(encoding="utf-8") + lines.read_text(encoding="utf-8")
    assert "i1" not in whole
    assert '"mine"' not in whole
    assert stat.S_IMODE(lines.with_suffix(".1").stat().st_mode) == 0o600


class TestFile:
    def test_it_holds_hashes_alone_for_its_owner_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "deep" / "keys.toml"
        key = add_key(file, "web", ["recommend", "write"], "shop")
        assert key not in file.read_text(encoding="utf-8")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert Keyring(file=file).caller(key) == Caller("web", "shop", frozenset({"recommend", "write"}))
        assert Keyring(file=file).caller(key[:-1]) is None
        both = Keyring("a-single-key-for-all", file)
        assert both.caller("a-single-key-for-all") == Caller("key")
        assert both.caller(key) is not None
        assert Keyring().is_open
        assert not both.is_open

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("[[keys]]", "keys.0.name: Field required"),
            ("keys = 7", "keys:"),
            ("[[keys", "can't be read"),
            ("[[keys]]\nname = 'a'\nscopes = ['all']\nsha256 = ['0']", "keys.0.scopes.0"),
            (
                f"[[keys]]\nname = 'a'\nscopes = ['read']\nsha256 = ['{'0' * 64}']\n" * 2,
                "two keys are called 'a'",
            ),
            (f"[[keys]]\nname = 'a'\nscopes = []\nsha256 = ['{'0' * 64}']", "keys.0.scopes"),
            (f"[[keys]]\nname = 'a/b'\nscopes = ['read']\nsha256 = ['{'0' * 64}']", "keys.0.name"),
            (
                f"[[keys]]\nname = 'a'\ntenant = 'b c'\nscopes = ['read']\nsha256 = ['{'0' * 64}']",
                "tenant = 'b c'",
            ),
            (f"[[keys]]\nname = 'a'\nkey = 'x'\nscopes = ['read']\nsha256 = ['{'0' * 64}']", "keys.0.key"),
        ],
    )
    def test_what_is_wrong_in_it_is_named(self, tmp_path: Path, text: str, told: str) -> None:
        file = tmp_path / "keys.toml"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as raised:
            Keyring(file=file)
        assert told in str(raised.value)
        assert str(file) in str(raised.value)

    def test_commands(self, tmp_path: Path) -> None:
        file = str(tmp_path / "keys.toml")

        def run(*arguments: str) -> str:
            result = CliRunner().invoke(app, ["keys", *arguments, "--file", file], catch_exceptions=False)
            assert result.exit_code == 0
            return result.stdout

        key = run("add", "web", "--scope", "recommend", "--scope", "read", "--tenant", "b").strip()
        assert json.loads(run("rotate", "web", "--json"))["key"] != key
        assert "web" in run("list")
        assert json.loads(run("list", "--json")) == [
            {"name": "web", "tenant": "b", "scopes": ["recommend", "read"], "secrets": 2}
        ]
        assert run("retire", "web") == "web: 1 former secrets are gone\n"
        assert run("remove", "web") == "web is removed\n"
        assert read_keys(tmp_path / "keys.toml").keys == ()
        for wrong, told in (
            (("rotate", "nobody"), "no key is called 'nobody'"),
            (("add", "a b"), "key name = 'a b'"),
            (("add", "a", "--scope", "all"), "scopes: recommend, write, read, admin"),
            (("add", "a", "--tenant", "x y"), "tenant = 'x y'"),
        ):
            result = CliRunner().invoke(app, ["keys", *wrong, "--file", file])
            assert isinstance(result.exception, ConfigError)
            assert told in str(result.exception)


def test_one_client_leaves_room_for_others_in_the_queue(tmp_path: Path) -> None:
    """Whoever fills the queue waits for themselves: another's request is written before their second one."""
    service, engine = small_service(
        tmp_path / "store.db", "serve.rate=0", "serve.queue=6", "serve.in_flight=1", "serve.deadline=60"
    )
    keys = Keys(httpx.Client(), tmp_path / "keys.toml")
    order: list[str] = []

    def ask(key: str, user: str) -> httpx.Response:
        answer = keys.send(key, "POST", "/v1/recommendations", {"user_id": user})
        order.append(key)
        return answer

    def depth() -> str:
        text = keys.send("all", "GET", "/metrics").text
        return next(line for line in text.splitlines() if line.startswith("deeprec_queue_depth{"))

    with running(service, keyring=Keyring(file=keys.file)) as client, ThreadPoolExecutor(12) as pool:
        keys.client = client
        engine.is_open.clear()
        hog = [pool.submit(ask, "recommend", "u1")]
        assert engine.has_begun.wait(10)
        hog += [pool.submit(ask, "recommend", f"u{number}") for number in range(2, 8)]
        wait_until(lambda: depth().endswith(" 6.0"))
        assert ask("recommend", "u9").status_code == 429  # full, of their own requests
        honest = pool.submit(ask, "all", "u10")
        wait_until(lambda: order.count("recommend") == 2)  # one of theirs made room
        assert ask("recommend", "u9").status_code == 429
        engine.is_open.set()
        assert honest.result(20).json()["stop_reason"] is not None
        answers = [one.result(20).json() for one in hog]
    assert order[:3] == ["recommend"] * 3  # the two refusals and the one that made room
    assert "all" in order[3:6]
    displaced = [answer for answer in answers if answer["stop_reason"] is None]
    assert [answer["source"] for answer in displaced] == ["trm"]
    assert displaced[0]["reason"] == "busy: others wait, too, and most requests were yours"
