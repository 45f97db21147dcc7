"""The proxy that docs/howto/operate.md shows, as a real nginx with TLS in front of a real service."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from serve_world import events_of, running, small_service, wait_until

from deeprec.serve.keyring import Keyring
from deeprec.serve.limits import LOOPBACK_NAMES

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "operate.md"
KEY = "a-key-behind-the-proxy"
NAME = "shop.example"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def configuration(folder: Path, port: int, service: int) -> str:
    """The page's lines, with ports and files of this test, and what any nginx needs around them."""
    found = re.search(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    shown = found[1].replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    shown = shown.replace("127.0.0.1:8000", f"127.0.0.1:{service}").replace("/etc/ssl/", f"{folder}/")
    kept = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; pid {folder}/pid; error_log {folder}/log; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; {kept}\n{shown} }}"
    )


@contextmanager
def proxied(service: int) -> Iterator[httpx.Client]:
    """A client of an nginx in front of the service at that port."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx or openssl not found: apt-get install nginx-light openssl")
    folder, port = Path(tempfile.mkdtemp(prefix="deeprec-nginx-")), free_port()
    folder.chmod(0o755)  # its worker is another user where this one is root
    key, certificate = folder / f"{NAME}.key", folder / f"{NAME}.pem"
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    made += ["-addext", f"subjectAltName=DNS:{NAME}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    file = folder / "nginx.conf"
    file.write_text(configuration(folder, port, service), encoding="utf-8")
    process = subprocess.Popen([nginx, "-c", str(file), "-p", str(folder)], stderr=subprocess.PIPE)
    try:
        trusted = ssl.create_default_context(cafile=str(certificate))
        headers = {"host": NAME, "authorization": f"Bearer {KEY}"}
        with httpx.Client(
            base_url=f"https://127.0.0.1:{port}", verify=trusted, headers=headers, timeout=20
        ) as client:
            wait_until(lambda: accepts(port))
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def accepts(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_the_documented_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.serve.limits.BODY_SECONDS", 1.0)
    service, engine = small_service(tmp_path / "store.db")
    hosts = {*LOOPBACK_NAMES, NAME}
    named = {"extensions": {"sni_hostname": NAME}}
    with (
        running(service, keyring=Keyring(KEY), hosts=hosts) as direct,
        proxied(direct.base_url.port or 0) as client,
    ):
        body = {"user_id": "u1"}
        assert client.post("/v1/recommendations", json=body, **named).status_code == 200
        assert client.get("/readyz", **named).status_code == 200
        assert (
            client.get(
                "/v1/runs", headers={"authorization": "Bearer no-such-key-at-all"}, **named
            ).status_code
            == 401
        )
        assert client.get("/v1/runs", headers={"host": "other.example"}, **named).status_code == 400
        assert client.post("/v1/recommendations", content=b" " * 300_000, **named).status_code == 413
        # Events come through one by one: the first arrives while the policy waits at the test's gate.
        engine.is_open.clear()
        with client.stream("POST", "/v1/recommendations/stream", json=body, **named) as response:
            events = events_of(response.iter_lines())
            assert next(events)[0] == "start"
            engine.is_open.set()
            assert [name for name, _ in events][-1] == "ranking"

        # A body in drops waits in the proxy, longer than the service would wait for it.
        def drops() -> Iterator[bytes]:
            for part in (b'{"user', b'_id": ', b'"u1"}'):
                yield part
                time.sleep(0.6)

        headers = {"content-type": "application/json", "content-length": "17"}
        slow = client.post("/v1/recommendations", content=drops(), headers=headers, **named)
        assert slow.status_code == 200, slow.text
