"""The command that adds an extra works in this environment, wherever the package came from."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

import deeprec
from deeprec import distribution
from deeprec.distribution import NAME, install_command, installed_version


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the installed distribution says of where it came from; change it in place."""
    recorded: dict[str, object] = {}

    class Found:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return json.dumps(recorded) if recorded else None

    monkeypatch.setattr(distribution.metadata, "distribution", lambda name: Found())
    monkeypatch.setattr(sys, "executable", "/opt/env/bin/python")
    return recorded


def test_a_checkout_is_installed_again_with_the_extra(origin: dict[str, object], tmp_path: Path) -> None:
    origin |= {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    assert install_command("train") == f'/opt/env/bin/python -m pip install -e "{tmp_path}[train]"'
    origin["dir_info"] = {}
    assert install_command("train") == f'/opt/env/bin/python -m pip install "{tmp_path}[train]"'


def test_a_folder_with_a_space_is_written_as_it_is_called(origin: dict[str, object], tmp_path: Path) -> None:
    folder = tmp_path / "my checkout"
    folder.mkdir()
    origin |= {"url": folder.as_uri(), "dir_info": {"editable": True}}
    assert f'-e "{folder}[serve]"' in install_command("serve")


@pytest.mark.parametrize(
    ("recorded", "requirement"),
    [
        ({}, "deeprec-llm[index]"),
        ({"url": "file:///gone/checkout", "dir_info": {}}, "deeprec-llm[index]"),
        (
            {"url": "file:///tmp/deeprec_llm-0.1.0-py3-none-any.whl", "archive_info": {}},
            "deeprec-llm[index] @ file:///tmp/deeprec_llm-0.1.0-py3-none-any.whl",
        ),
        (
            {"url": "https://example.org/deeprec.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "deeprec-llm[index] @ git+https://example.org/deeprec.git@abc",
        ),
    ],
)
def test_an_installed_one_names_where_it_came_from(
    origin: dict[str, object], recorded: dict[str, object], requirement: str
) -> None:
    origin |= recorded
    assert install_command("index") == f'/opt/env/bin/python -m pip install "{requirement}"'


def test_an_environment_without_pip_is_told_of_uv(
    origin: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "find_spec", lambda name: None)
    assert install_command("train").startswith("uv pip install --python /opt/env/bin/python ")


def test_an_interpreter_below_this_folder_is_short(
    origin: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert install_command("train").startswith(".venv/bin/python -m pip install ")
    monkeypatch.setattr(sys, "executable", "/Program Files/python")
    assert install_command("train").startswith('"/Program Files/python" -m pip install ')


def test_a_package_that_was_never_installed_names_its_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(distribution.metadata, "distribution", missing)
    monkeypatch.setattr(distribution.metadata, "version", missing)
    checkout = Path(deeprec.__file__).parents[2]
    assert f'-e "{checkout}[train]"' in install_command("train")
    assert installed_version() == "0+unknown"


def test_versions_agree() -> None:
    assert deeprec.__version__ == installed_version() == metadata.version(NAME)
