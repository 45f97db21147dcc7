"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from services.postgres import Postgres

# Figures are held against each other to the last digit, and a sum over two threads ends differently.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is loaded

# Each of these has something costly that its tests share: a browser and its run, a service, a database, a fit.
_TOGETHER = (
    "tests/browser/",
    "tests/services/",
    "tests/unit/store/",
    "tests/pipeline/test_toy_rl.py",
    "tests/pipeline/test_wishes.py",
    "tests/unit/cli/test_evaluation_commands.py",
    "tests/unit/evaluation/test_batches.py",
    "tests/unit/rivals/test_item_tokens_fit.py",
    "tests/unit/rivals/test_joined_fit.py",
    "tests/unit/trm/test_resuming.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup` one worker gets all tests of such a folder or file, so that it is made once."""
    for item in items:
        for place in _TOGETHER:
            if place in item.path.as_posix():
                item.add_marker(pytest.mark.xdist_group(place))


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of cases, each with its input, the commands that showed the fault, and what is expected."""
    folder = Path(os.environ.get("DEEPREC_CASES", Path(__file__).resolve().parents[2] / "shared" / "cases"))
    if not (folder / "csv-blank-line").is_dir():
        pytest.skip(f"no cases at {folder}; set DEEPREC_CASES to a folder with csv-blank-line")
    return folder


@pytest.fixture(scope="session")
def tiny_settings(cases: Path) -> Path:
    """The settings that came with the cases."""
    return cases / "ms-timestamps" / "tiny.toml"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the third-party data sets, which are never part of the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DEEPREC_DATA", default))
    if not (folder / "ml-100k.zip").is_file():
        pytest.skip(f"third-party data not found at {folder}; set DEEPREC_DATA to a folder with ml-100k.zip")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that all tests of this process share; each empties it first."""
    from services.postgres import start_postgres

    yield from start_postgres()
