"""A release: files, commit and tag in a repository of its own; and what is refused."""

from __future__ import annotations

import importlib.util
import subprocess
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[3] / "tools" / "release.py"
CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-01-01\n\n- The first.\n"
)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    files = {
        "pyproject.toml": '[project]\nversion = "0.1.0"\n',
        "CHANGELOG.md": CHANGELOG,
        "CITATION.cff": "cff-version: 1.2.0\nversion: 0.1.0\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "test")
    git(tmp_path, "config", "user.email", "test@example.org")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "start")
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_files_commit_and_tag(tool: ModuleType, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool.release(repository, "0.2.0", dry_run=False, today=date(2026, 2, 3))
    assert 'version = "0.2.0"' in (repository / "pyproject.toml").read_text()
    assert (repository / "CITATION.cff").read_text() == "cff-version: 1.2.0\nversion: 0.2.0\n"
    changelog = (repository / "CHANGELOG.md").read_text()
    assert "## [Unreleased]\n\n## [0.2.0] - 2026-02-03\n\n### Added\n\n- A thing.\n\n## [0.1.0]" in changelog
    assert git(repository, "log", "-1", "--format=%s").strip() == "Version 0.2.0"
    message = git(repository, "tag", "--list", "v0.2.0", "--format=%(contents)")
    assert message.strip() == "deeprec 0.2.0\n\n### Added\n\n- A thing."
    assert git(repository, "status", "--porcelain") == ""
    assert "- A thing." in capsys.readouterr().out


def test_a_dry_run_changes_nothing(tool: ModuleType, repository: Path) -> None:
    tool.release(repository, "0.2.0", dry_run=True)
    assert git(repository, "status", "--porcelain") == git(repository, "tag") == ""


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0.0.9", "0.0.9 is not above 0.1.0"),
        ("1.0", "not MAJOR.MINOR.PATCH"),
        ("v1.0.0", "not MAJOR.MINOR.PATCH"),
    ],
)
def test_versions_that_make_no_sense(tool: ModuleType, repository: Path, version: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tool.release(repository, version, dry_run=False)
    assert git(repository, "status", "--porcelain") == ""


def test_a_tree_that_is_not_clean_an_empty_changelog_and_a_tag_that_is_there(
    tool: ModuleType, repository: Path
) -> None:
    (repository / "new").write_text("")
    with pytest.raises(ValueError, match="uncommitted"):
        tool.release(repository, "0.2.0", dry_run=False)
    (repository / "new").unlink()
    tool.release(repository, "0.2.0", dry_run=False)
    with pytest.raises(ValueError, match=r"tag v0\.2\.0 is there already"):
        tool.release(repository, "0.2.0", dry_run=False)
    with pytest.raises(ValueError, match=r"nothing under \[Unreleased\]"):
        tool.release(repository, "0.3.0", dry_run=False)


def test_a_wheel_that_is_not_as_it_should_be_leaves_the_tree_as_it_was(
    tool: ModuleType, repository: Path
) -> None:
    (repository / "tools").mkdir()
    (repository / "tools" / "check_install.py").write_text("raise SystemExit('it lacks a file')\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "tool")
    with pytest.raises(ValueError, match="nothing was released"):
        tool.release(repository, "0.2.0", dry_run=False)
    assert git(repository, "status", "--porcelain") == git(repository, "tag") == ""
