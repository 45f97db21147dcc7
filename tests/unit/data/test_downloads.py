"""Downloads against a real server on this machine: checksum, resume, and what fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deeprec.data.sources import Download, default_cache, fetch
from deeprec.errors import DownloadError

CONTENT = bytes(range(256)) * 1000


class Host:
    """A server of one file; `ranges` are the Range headers seen, `sent` caps the bytes of an answer."""

    def __init__(self) -> None:
        self.ranges: list[str | None] = []
        self.sent: int | None = None
        self.resumes = True
        self.content = CONTENT
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                host.ranges.append(asked)
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and host.resumes else 0
                body = host.content[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: host.sent])

            def log_message(self, *args: object) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.wanted = Download(
            f"http://127.0.0.1:{self.server.server_port}/set.zip", len(CONTENT), sha256(CONTENT).hexdigest()
        )


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Host()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_download_once(host: Host, tmp_path: Path) -> None:
    file = fetch("toy", host.wanted, tmp_path / "cache")
    assert file.read_bytes() == CONTENT
    assert fetch("toy", host.wanted, tmp_path / "cache") == file
    assert host.ranges == [None]
    assert [entry.name for entry in file.parent.iterdir()] == ["set.zip"]


@pytest.mark.parametrize("resumes", [True, False])
def test_an_interrupted_download_goes_on(host: Host, tmp_path: Path, resumes: bool) -> None:
    host.sent = 100_000
    with pytest.raises(DownloadError, match=r"stopped after 100000 of 256000 bytes.*again to go on"):
        fetch("toy", host.wanted, tmp_path)
    assert not (tmp_path / "set.zip").exists()
    host.sent, host.resumes = None, resumes
    assert fetch("toy", host.wanted, tmp_path).read_bytes() == CONTENT
    assert host.ranges == [None, "bytes=100000-"]


def test_wrong_content_is_refused_and_removed(host: Host, tmp_path: Path) -> None:
    host.content = b"x" * len(CONTENT)
    with pytest.raises(DownloadError, match=r"has sha256 .* expected .*name it with --source PATH"):
        fetch("toy", host.wanted, tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "set.zip").write_bytes(b"an old, broken copy")
    host.content = CONTENT
    assert fetch("toy", host.wanted, tmp_path).read_bytes() == CONTENT


def test_unreachable_host_names_the_manual_way(host: Host, tmp_path: Path) -> None:
    gone = Download("http://127.0.0.1:9/set.zip", 1, "0" * 64)
    with pytest.raises(
        DownloadError, match=r"can't be downloaded .*by hand and name it with --source PATH, or put it at"
    ):
        fetch("toy", gone, tmp_path)


def test_a_cache_that_is_a_file(host: Host, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("x")
    with pytest.raises(DownloadError, match=r"cache: 'toy' can't be written \(File exists\)"):
        fetch("toy", host.wanted, tmp_path / "cache")


def test_cache_folder_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPREC_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
