"""Whatever befalls a file of a finished run is found out: by the doctor, and by whoever loads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CopyRun

from deeprec import artefacts
from deeprec.doctor import inspect_run
from deeprec.errors import DeepRecError, RunError
from deeprec.evaluation.report import write_report
from deeprec.evaluation.stage import run_evaluation
from deeprec.pipeline import build_deeprec, build_recommenders, load_stages
from deeprec.rivals.registry import load_rival, run_rival
from deeprec.run import Run

STAGES = ("data", "trm", "warm_start", "rival:ease")


def _flip(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


HARMS: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda content: None,
    "emptied": lambda content: b"" if content != b"empty" else content,
    "cut": lambda content: content[: len(content) // 2],
    "longer": lambda content: content + b"\n",
    "flipped": _flip,
    "replaced": lambda content: bytes(len(content)),
}


@pytest.fixture(scope="module")
def whole(warm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    import shutil

    folder = tmp_path_factory.mktemp("damage") / "run"
    shutil.copytree(warm_run, folder)
    run = Run.open(folder)
    dataset, trm = load_stages(run)
    run_rival(run, dataset, trm, "ease")
    run_evaluation(run, dataset, trm, build_recommenders(run, ["trm", "ease"], (dataset, trm)))
    write_report(run)
    return run


def harm(file: Path, how: str, content: bytes) -> None:
    harmed = HARMS[how](content or b"empty")
    if harmed is None:
        file.unlink()
    else:
        file.write_bytes(harmed)


@pytest.mark.parametrize("how", HARMS)
def test_every_file_that_is_not_what_was_written_is_named(whole: Run, how: str) -> None:
    files = {name: stage for stage, record in whole.finished().items() for name in record["files"]}
    assert {"report/report.html", "report/evaluation.json", "seen/trm.parquet", "data/items.parquet"} <= set(
        files
    )
    for name, stage in files.items():
        file = whole.folder / name
        content = file.read_bytes()
        harm(file, how, content)
        (problem,) = whole.problems(stage, thorough=True)
        assert str(file) in problem
        file.write_bytes(content)
    assert not any(whole.problems(stage, thorough=True) for stage in whole.finished())


def load(run: Run) -> None:
    """All that `recommend` and an evaluation load."""
    dataset, trm = load_stages(run)
    build_deeprec(run, dataset, trm)
    load_rival(run, dataset, trm, "ease")


@pytest.mark.parametrize("how", HARMS)
def test_whoever_loads_a_changed_file_says_so(whole: Run, how: str) -> None:
    for stage in STAGES:
        for name in whole.finished()[stage]["files"]:
            file = whole.folder / name
            content = file.read_bytes()
            harm(file, how, content)
            try:
                with pytest.raises(DeepRecError) as caught:
                    load(whole)
                assert "\n" not in str(caught.value), name
            finally:
                file.write_bytes(content)
    load(whole)


def test_the_doctor_proves_a_whole_run_and_not_a_broken_one(whole: Run) -> None:
    state = inspect_run(whole.folder)
    assert not state.problems
    assert [finding.verdict for finding in state.findings if "files are those" in finding.check] == ["proven"]
    file = whole.trm / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(_flip(content))
    state = inspect_run(whole.folder)
    file.write_bytes(content)
    assert any(f"{file} holds something else" in problem for problem in state.problems)
    assert [finding.verdict for finding in state.findings if "files are those" in finding.check] == [
        "problem"
    ]


def test_lost_rows_and_changed_records_are_found(whole: Run) -> None:
    def findings(part: str) -> list[str]:
        return [finding.verdict for finding in inspect_run(whole.folder).findings if part in finding.check]

    for file, check in ((whole.metrics, "logs hold"), (whole.folder / "stages.json", "records of stages")):
        content = file.read_bytes()
        assert findings(check) == ["proven"]
        if file == whole.metrics:
            file.write_bytes(content[content.index(b"\n") + 1 :])
        else:
            file.write_bytes(content.replace(b'"minutes": 0.', b'"minutes": 1.', 1))
        assert findings(check) == ["problem"]
        file.write_bytes(content)


def test_a_record_that_was_changed_is_refused_by_whoever_loads_the_stage(whole: Run) -> None:
    """Without the names of its files, or with other sizes, nothing would be checked."""
    record = whole.folder / "stages.json"
    content = record.read_bytes()
    for found, put in ((b'"files"', b'"fhles"'), (b'"minutes": 0', b'"minutes": 7')):
        record.write_bytes(content.replace(found, put))
        with pytest.raises(
            RunError, match=r"stages\.json holds another record of it than was written; restore"
        ):
            load(whole)
        assert inspect_run(whole.folder).problems
        assert "problem" in [finding.verdict for finding in inspect_run(whole.folder).findings]
    for text in (
        '{"data": {"inputs": "a", "files": []}}',
        '{"data": {"inputs": "a", "files": {"x": 5}}}',
        "[" * 10**5,
    ):
        record.write_text(text)
        with pytest.raises(RunError, match=r"stages\.json: .*restore it from a copy"):
            whole.finished()
    record.write_bytes(content)
    load(whole)


@pytest.mark.parametrize("row", [b"{}", b'{"prompt": 5, "user_id": [], "target": null}'])
def test_a_row_that_is_no_trajectory_is_a_finding(whole: Run, row: bytes) -> None:
    whole.trajectories.write_bytes(row + b"\n")
    findings = inspect_run(whole.folder).findings
    whole.trajectories.unlink()
    assert "a file is damaged" in next(one.text for one in findings if one.check == "check prompts")


def test_a_file_that_no_stage_left_is_not_loaded(whole: Run) -> None:
    for file in (whole.policy("warm_start") / "adapter_config.json", whole.trm / "other.safetensors"):
        file.write_text("{}")
        with pytest.raises(RunError, match=f"{file} was not left by it; move it away"):
            load(whole)
        assert any(str(file) in problem for problem in inspect_run(whole.folder).problems)
        file.unlink()
    load(whole)


def test_a_lost_record_is_no_run_that_has_not_begun(whole: Run) -> None:
    record = whole.folder / "stages.json"
    content = record.read_bytes()
    record.unlink()
    problems = inspect_run(whole.folder).problems
    record.write_bytes(content)
    assert any(f"restore {record} from a copy" in problem for problem in problems)


def test_a_large_stage_is_checked_by_size_and_by_the_doctor_by_hash(
    whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefacts, "HASHED_ON_LOAD", 1000)
    file = whole.trm / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(_flip(content))
    whole.check("trm")
    assert whole.problems("trm", thorough=True)
    file.write_bytes(content[:-1])
    with pytest.raises(
        RunError, match=rf"had {len(content)} when it was written; restore it .* or delete {whole.trm}"
    ):
        whole.check("trm")
    file.write_bytes(content)


def test_a_deleted_folder_is_made_again_and_a_changed_one_refused(copy_run: CopyRun) -> None:
    import shutil

    from deeprec.data.stage import run_data
    from deeprec.trm.stage import run_trm

    run = copy_run()
    dataset = run_data(run)
    file = run.trm / "encoder.json"
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(RunError, match=r"stage 'trm': .*encoder\.json has"):
        run_trm(run, dataset)
    assert "trm" in run.finished()  # nothing was thrown away
    shutil.rmtree(run.trm)
    run_trm(run, dataset)
    assert not run.problems("trm", thorough=True)
