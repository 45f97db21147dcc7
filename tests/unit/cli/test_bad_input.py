"""What a mistake on the command line gets: one line that says what to do, and nothing left behind."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deeprec.disk import read_jsonl
from deeprec.errors import RetrievalError, RunError

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
        (("--preset", "ci", "--set", "rl.learning_rate=inf"), ("'rl.learning_rate' = inf", "finite")),
        (
            ("--preset", "ci", "--set", "rl.cold_start.weights={format=nan}"),
            ("'rl.cold_start.weights.format' = nan", "finite"),
        ),
        (("--preset", "ci", "--set", "seed=4294967296"), ("'seed' = 4294967296", "less than 4294967296")),
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


def test_a_wish_that_is_too_long_is_told(deeprec: Callable, tmp_path: Path) -> None:
    outcome = deeprec("recommend", "--run", tmp_path / "run", "--wish", "w" * 10_000)
    check_one_line(outcome, "DataError", "--wish has 10000 characters; at most 500 are kept")


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


def _stop_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def stop(*_: object) -> Path:
        raise error

    monkeypatch.setattr("deeprec.pipeline.run_pipeline", stop)


def test_an_interruption_says_that_the_same_command_goes_on(
    deeprec: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stop_with(monkeypatch, KeyboardInterrupt())
    outcome = deeprec("quickstart", "--run", tmp_path / "run", "--preset", "ci", "--data", "synthetic")
    assert outcome.code == 130
    assert outcome.err.strip().splitlines() == [
        "Interrupted. Finished stages are kept; the same command goes on from there."
    ]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "--run"), (errno.EACCES, "permissions")],
)
def test_a_disk_that_refuses_names_the_file(
    deeprec: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    file = tmp_path / "run" / "stages.json.part"
    _stop_with(monkeypatch, OSError(code, "refused", str(file)))
    outcome = deeprec("quickstart", "--run", tmp_path / "run", "--preset", "ci", "--data", "synthetic")
    check_one_line(outcome, "OSError", f"{file}: refused; ", remedy)


def test_an_unknown_stage_names_the_known_ones(deeprec: Callable, tmp_path: Path) -> None:
    outcome = deeprec("recommend", "--run", tmp_path / "nowhere", "--user", "1", "--stage", "cold_strat")
    check_one_line(outcome, "RunError", "--stage 'cold_strat'", "cold_start or recommendation")


@pytest.mark.parametrize("text", ["[]", '{"trm": 1}', '{"trm": {}}', "{"])
def test_a_damaged_record_of_stages_names_the_file(deeprec: Callable, tmp_path: Path, text: str) -> None:
    (tmp_path / "run.toml").write_text("seed = 0")
    (tmp_path / "stages.json").write_text(text)
    outcome = deeprec("policy", "show", "--run", tmp_path)
    check_one_line(outcome, "RunError", str(tmp_path / "stages.json"), "delete it to run the stages again")


def test_an_empty_run_is_not_a_run_with_defaults(deeprec: Callable, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("")
    outcome = deeprec("policy", "show", "--run", tmp_path)
    check_one_line(outcome, "RunError", str(tmp_path / "run.toml"), "is empty")


def test_lists_beyond_the_catalogue_are_refused_before_the_trm_is_fitted(
    deeprec: Callable, tmp_path: Path
) -> None:
    small = ("data.synthetic.users=30", "data.synthetic.items=25", "rollout.retrieved=26")
    sets = [word for setting in small for word in ("--set", setting)]
    outcome = deeprec("quickstart", "--run", tmp_path / "run", "--preset", "ci", "--data", "synthetic", *sets)
    assert outcome.code == 2
    said = outcome.err.strip().splitlines()[-1]  # behind the heading of the data stage
    assert said == "RetrievalError: rollout.retrieved = 26 is more than the catalogue's 25 items; lower it"
    assert not (tmp_path / "run" / "trm").exists()


@pytest.mark.parametrize("line", [b"[1]", b"\xff", b"{"])
def test_a_damaged_log_names_the_line(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl line 2: .*; delete the line"):
        read_jsonl(file)
    file.write_bytes(b'{"step": 1}\n{"st')
    assert read_jsonl(file) == [{"step": 1}]


def test_a_cut_text_encoder_is_to_be_fitted_again(tmp_path: Path) -> None:
    from deeprec.trm.encoders import load_text_encoder

    (tmp_path / "encoder.json").write_text('{"kind": "lsa"}')
    (tmp_path / "encoder.safetensors").write_bytes(b"cut")
    with pytest.raises(RetrievalError, match=r"no readable text encoder .*; fit the TRM again"):
        load_text_encoder(tmp_path, None)
