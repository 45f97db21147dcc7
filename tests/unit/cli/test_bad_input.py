"""What a mistake on the command line gets: one line that says what to do, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = ("--preset", "ci", "--data", "ml-100k")


def check_one_line(outcome: Any, kind: str, *parts: str) -> None:
    assert outcome.code == 2
    assert outcome.out == ""
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith(f"{kind}: ")
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            ("--preset", "ci", "--set", "rl.learnin_rate=1"),
            ("unknown key 'rl.learnin_rate'", "did you mean 'rl.learning_rate'?"),
        ),
        (("--preset", "ci", "--set", "trm.width=wide"), ("'trm.width' = 'wide'",)),
        (("--preset", "ci", "--set", "seed"), ("expected key=value",)),
        (("--preset", "cii"), ("unknown preset 'cii'", "did you mean 'ci'?")),
        (("--config", "no-such.toml"), ("no-such.toml: can't be read",)),
    ],
)
def test_bad_settings_leave_no_run(
    deeprec: Callable, tmp_path: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    check_one_line(deeprec("quickstart", "--run", tmp_path / "run", *arguments), "ConfigError", *parts)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_archive_names_its_path(deeprec: Callable, tmp_path: Path) -> None:
    missing = tmp_path / "no-such.zip"
    outcome = deeprec("quickstart", "--run", tmp_path / "run", *TINY, "--source", missing)
    error = outcome.err.splitlines()[-1]
    assert outcome.code == 2
    assert error.startswith("DataError: ")
    assert str(missing) in error
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run" / "data").exists()


def test_a_corrupt_archive_names_its_path(deeprec: Callable, tmp_path: Path) -> None:
    broken = tmp_path / "ml-100k.zip"
    broken.write_bytes(b"PK\x03\x04 and then nothing")
    outcome = deeprec("quickstart", "--run", tmp_path / "run", *TINY, "--source", broken)
    error = outcome.err.splitlines()[-1]
    assert outcome.code == 2
    assert error.startswith("DataError: ")
    assert str(broken) in error
    assert "Traceback" not in outcome.err


def test_an_unknown_data_set_names_the_known_ones(deeprec: Callable, tmp_path: Path) -> None:
    outcome = deeprec("quickstart", "--run", tmp_path / "run", "--preset", "ci", "--data", "ml-100")
    error = outcome.err.splitlines()[-1]
    assert outcome.code == 2
    assert error.startswith("DataError: unknown data set 'ml-100'")
    assert "ml-100k" in error


def test_a_folder_that_is_no_run_is_left_alone(deeprec: Callable, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    outcome = deeprec("quickstart", "--run", tmp_path, "--preset", "ci", "--data", "synthetic")
    check_one_line(outcome, "RunError", "not empty and not a run folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "command",
    [
        ("trm", "fit"),
        ("policy", "init"),
        ("policy", "show"),
        ("train",),
        ("evaluate",),
        ("report",),
        ("data", "show"),
        ("recommend", "--user", "1"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_a_command_without_a_run_says_how_to_make_one(
    deeprec: Callable, tmp_path: Path, command: tuple[str, ...]
) -> None:
    outcome = deeprec(*command, "--run", tmp_path / "nowhere")
    check_one_line(outcome, "RunError", "no run.toml here; make a run with `deeprec quickstart --run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [(), ("--user", "1", "--title", "Alien")])
def test_recommend_wants_a_user_or_titles(
    deeprec: Callable, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    outcome = deeprec("recommend", "--run", tmp_path / "nowhere", *arguments)
    check_one_line(outcome, "DataError", "either --user ID or --title TITLE")


def test_an_unknown_command_is_a_usage_error(deeprec: Callable) -> None:
    outcome = deeprec("quickstrat")
    assert outcome.code == 2
    assert "quickstrat" in outcome.err
    assert "Traceback" not in outcome.err
