"""The service from outside: started, asked, told what the user did, asked again, stopped.

`python examples/serve_and_ask.py RUN` needs nothing but `deeprec serve`'s own extra. The store lies in RUN, as for
`deeprec serve RUN`; what a visitor did here stays in it. See docs/tutorials/production.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen


def main(folder: Path) -> dict[str, Any]:
    """What somebody new gets before and after a click; the second answer."""
    with service(folder) as address:
        visitor = {"user_id": "visitor", "k": 3}
        first = ask(f"{address}/v1/recommendations", visitor)
        print("new:", *shown(first), sep="\n  ")
        clicked = {"user_id": "visitor", "item_id": first["items"][0]["item_id"], "kind": "click"}
        ask(f"{address}/v1/feedback", clicked)
        second = ask(f"{address}/v1/recommendations", visitor)
        print(f"after a click on {first['items'][0]['title']}:", *shown(second), sep="\n  ")
    return second


@contextmanager
def service(folder: Path) -> Iterator[str]:
    """The address of a service on a free port of this machine, which ends with the block."""
    command = [
        sys.executable,
        "-c",
        "from deeprec.cli import main; main()",
        "serve",
        str(folder),
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # "deeprec serves on http://127.0.0.1:41234"
        if not line:
            raise SystemExit(f"the service ended with {process.wait()}")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.communicate()


def ask(address: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the service answers; raises HTTPError where it refuses."""
    request = Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def shown(answer: dict[str, Any]) -> list[str]:
    """A line on who ranked, and one for each title."""
    return [f"by {answer['source']}", *(item["title"] for item in answer["items"])]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
