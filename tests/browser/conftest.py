"""A real service on a small run, and a real Chromium that looks at it.

The browser is Debian's, or the one that DEEPREC_CHROMIUM names; without one these tests are
skipped. Pictures go to the folder that DEEPREC_SCREENSHOTS names, else to pytest's own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import Eyes
from serving import KEY, Serving
from small_run import make_run


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser; skips the test where there is none."""
    named = os.environ.get("DEEPREC_CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None or not Path(found).is_file():
        pytest.skip(f"no Chromium at {found or 'chromium'}; install it, or set DEEPREC_CHROMIUM to its path")
    pytest.importorskip("playwright.sync_api", reason="the extra dev has playwright")
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """One browser for the tests of a file; each has a context of its own.

    Not for the whole session: as long as it is open, its event loop counts as running in
    this thread, and tests elsewhere could not use asyncio.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def run_folder(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a policy, trajectories and figures. Without a browser none is made."""
    return make_run(tmp_path_factory.mktemp("browser") / "first")


@pytest.fixture(scope="session")
def service(run_folder: Path) -> Iterator[Serving]:
    """Two runs, served without a key."""
    second = run_folder.with_name("second")
    shutil.copytree(run_folder, second)
    with Serving([run_folder, second]) as serving:
        yield serving


@pytest.fixture(scope="session")
def guarded(run_folder: Path) -> Iterator[Serving]:
    """The same run behind a key, for one client at a time and one that waits."""
    overrides = ["serve.in_flight=1", "serve.queue=1", "serve.rate=0"]
    with Serving([run_folder], key=KEY, store="guarded.db", overrides=overrides) as serving:
        yield serving


@pytest.fixture
def look(browser: Any, service: Serving, tmp_path: Path) -> Iterator[Callable[..., Eyes]]:
    """Opens pages, `look("#/curves", scheme="dark", width=320)`; what the browser complains of fails the test."""
    folder = Path(os.environ.get("DEEPREC_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    opened: list[Eyes] = []

    def open_page(place: str = "", *, base: str = service.url, **how: Any) -> Eyes:
        opened.append(Eyes(browser, base, folder, **how))
        opened[-1].goto(place)
        return opened[-1]

    yield open_page
    for eyes in opened:
        eyes.close()
    assert [complaint for eyes in opened for complaint in eyes.complaints] == []
