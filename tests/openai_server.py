"""A real server of OpenAI's completions API in this process: `transformers serve` on a free port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def transformers_serve(folder: Path) -> Iterator[str]:
    """Address of a server that has the policy in `folder`; it starts in about a second."""
    from transformers.cli.serve import Serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serving = Serve(force_model=str(folder), host="127.0.0.1", port=port, device="cpu", non_blocking=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        serving.kill_server()
