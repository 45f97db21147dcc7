"""The real service on a port of its own, in this process; and a wire to it that can be cut."""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from deeprec.serve.app import create_app
from deeprec.serve.keyring import Keyring
from deeprec.serve.loading import load_service
from deeprec.serve.server import address_of, build_server, listen

KEY = "a-key-for-the-browser-tests"
PATIENCE = 20.0  # seconds for what should take one
FIRST_ANSWER = rb"event: retrieved\ndata: .*\n\n"  # of the TRM, whole, in a stream
_PAUSE = (
    0.4  # seconds between what went by and the cut: a reader that loses its stream loses what it hadn't read
)


class Serving:
    """Serves runs until the block ends. `url` is where, `store` what it keeps."""

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        key: str | None = None,
        store: str = "store.db",
        overrides: Sequence[str] = (),
    ) -> None:
        url = f"sqlite:///{folders[0].parent / store}"
        self._service, trouble = load_service(folders, store=url, overrides=overrides)
        assert trouble is None, trouble
        self.store = self._service.door.open()
        self._bound = listen("127.0.0.1", 0)
        self.url = address_of(self._bound)
        self._server = build_server(create_app(self._service, keyring=Keyring(key)), self._service.caps)
        self._thread = threading.Thread(target=self._server.run, args=([self._bound],), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        limit = time.monotonic() + PATIENCE
        while not self._server.started:
            assert time.monotonic() < limit, "the service did not start"
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        self._bound.close()


class Wire:
    """Passes connections on to a service, and once `marker` (a pattern) has gone by, cuts or holds that one.

    `hung_up` is set when the browser ends a held connection.
    """

    def __init__(self, url: str, marker: bytes, then: Literal["cut", "hold"]) -> None:
        self._port = int(url.rpartition(":")[2])
        self._marker, self._then = re.compile(marker), then
        self.hung_up = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = address_of(self._listening)
        self._ended = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed at the end
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._pass, args=(near,), daemon=True).start()

    def _pass(self, near: socket.socket) -> None:
        far = socket.create_connection(("127.0.0.1", self._port))
        went_by, held = b"", False
        with near, far, suppress(ConnectionError):
            while not self._ended:
                for ready in select.select([near, far], [], [], 0.1)[0]:
                    part = ready.recv(65536)
                    if ready is far and held:
                        continue  # what comes now is kept from the browser
                    if not part:
                        if held:
                            self.hung_up.set()
                        return
                    if ready is near:
                        far.sendall(part)
                        continue
                    before, went_by = len(went_by), went_by + part
                    found = self._marker.search(went_by)
                    # Two events may come as one part: only what ends with the marker goes by.
                    near.sendall(part[: found.end() - before] if found else part)
                    if found and self._then == "cut":
                        time.sleep(_PAUSE)
                        return
                    held = found is not None
