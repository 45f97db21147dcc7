"""Pushed and pulled: the same lists, nobody's history, and nothing that would be run."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from conftest import CopyRun
from huggingface_hub import ModelCard, metadata_load
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from deeprec.cli import main
from deeprec.data.format import read_dataset
from deeprec.disk import file_hash
from deeprec.doctor import inspect_run
from deeprec.errors import DataError, DeepRecError, HubError
from deeprec.evaluation.stage import run_evaluation
from deeprec.hub.pull import pull_from_folder
from deeprec.hub.push import push_to_folder
from deeprec.hub.remote import _told
from deeprec.pipeline import build_deeprec, build_recommenders, load_stages, run_pipeline
from deeprec.run import Run
from deeprec.types import Example


@pytest.fixture(scope="module")
def evaluated(warm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hub") / "run"
    shutil.copytree(warm_run, folder)
    run = Run.open(folder)
    dataset, trm = load_stages(run)
    methods = build_recommenders(run, ["trm", "warm_start"], (dataset, trm))
    run_evaluation(run, dataset, trm, methods)
    return run


@pytest.fixture(scope="module")
def pushed(evaluated: Run) -> Path:
    target = evaluated.folder.parent / "pushed"
    push_to_folder(evaluated, target, licence="cc-by-nc-4.0")
    return target


@pytest.fixture(scope="module")
def pulled(pushed: Path) -> Run:
    return pull_from_folder(pushed, pushed.parent / "pulled", "pushed")


def lists(run: Run) -> list[tuple[int, ...]]:
    dataset, trm = load_stages(run)
    recommender = build_deeprec(run, dataset, trm, fill_in=True)
    people = [Example("(titles)", history) for history in ((1, 5, 9), (2, 3), (24, 20, 16, 12))]
    return [answer.ranking for answer in recommender.recommend(people, 5)]


def test_the_pulled_run_gives_the_same_lists_and_passes_the_doctor(evaluated: Run, pulled: Run) -> None:
    assert lists(pulled) == lists(evaluated)
    state = inspect_run(pulled.folder)
    assert state.problems == ()
    verdicts = {finding.check: finding.verdict for finding in state.findings}
    assert "problem" not in verdicts.values()
    assert verdicts["nothing was learned from a target"] == "unproven"
    assert verdicts["files are those that the stages wrote"] == "proven"
    assert verdicts["every stage was made from the present data and settings"] == "proven"


def test_nobody_s_history_or_id_travels(evaluated: Run, pushed: Path) -> None:
    files = {file.relative_to(pushed).as_posix() for file in pushed.rglob("*") if file.is_file()}
    assert not {name for name in files if "interactions" in name or "users" in name or "seen" in name}
    assert not {name for name in files if name.endswith("jsonl") or "per_user" in name or "report" in name}
    users = read_dataset(evaluated.data).user_ids
    assert users[0] == "u1"
    for name in files:
        content = (pushed / name).read_bytes()
        assert b'"u17"' not in content
        assert str(evaluated.folder.parent).encode() not in content


def test_the_top_is_a_hugging_face_folder(pushed: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(pushed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(pushed)
    assert model.get_input_embeddings().num_embeddings >= len(tokenizer)


def test_the_card_is_what_the_hub_reads(evaluated: Run, pushed: Path) -> None:
    card = ModelCard.load(pushed / "README.md")
    assert metadata_load(pushed / "README.md") == card.data.to_dict()
    assert (card.data.license, card.data.library_name) == ("cc-by-nc-4.0", "deeprec")
    (summary,) = [
        json.loads((evaluated.report / "evaluation.json").read_text())["methods"]["warm_start"]["metrics"]
    ]
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {metric: round(summary[metric]["mean"], 4) for metric in ("ndcg@10", "recall@10", "mrr")}
    for part in (
        "60 users, 24 items",
        "not** in this repository",
        f"{summary['ndcg@10']['mean']:.4f} [",
        "Licence notes",
        "simulated by deeprec",
        "4 + 2 iterations of 4 users x 4 rollouts",
    ):
        assert part in card.text, part
    assert ModelCard(card.content).data.to_dict() == card.data.to_dict()


def test_without_users_nothing_is_trained_or_evaluated(pulled: Run) -> None:
    dataset, trm = load_stages(pulled)
    with pytest.raises(DataError, match="without its users"):
        dataset.known_history("u1")
    with pytest.raises(DataError, match=r"without its users.*train in a run with data of its own"):
        run_pipeline(pulled)
    with pytest.raises(DeepRecError, match="without its users"):
        run_evaluation(pulled, dataset, trm, build_recommenders(pulled, ["trm"], (dataset, trm)))
    assert set(pulled.finished()) == {"data", "trm", "warm_start"}


def test_with_histories_the_whole_run_travels(evaluated: Run, tmp_path: Path) -> None:
    push_to_folder(evaluated, tmp_path / "pushed", histories=True)
    run = pull_from_folder(tmp_path / "pushed", tmp_path / "run", "pushed")
    assert read_dataset(run.data).fingerprint == read_dataset(evaluated.data).fingerprint
    state = inspect_run(run.folder)
    assert state.problems == ()
    assert {finding.verdict for finding in state.findings} == {"proven"}
    assert run.finished().keys() == evaluated.finished().keys()
    assert "personal data" in (tmp_path / "pushed" / "README.md").read_text()


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (lambda top: (top / "model.safetensors").write_bytes(b"x"), r"model.safetensors is not what was pushed"),
    "gone": (lambda top: (top / "deeprec/trm/trm.json").unlink(), "trm.json is no file here"),
    "no manifest": (lambda top: (top / "deeprec/manifest.json").unlink(), "no pushed run is here"),
    "torn manifest": (lambda top: (top / "deeprec/manifest.json").write_text("{"), "can't be read"),
    "a list": (lambda top: (top / "deeprec/manifest.json").write_text("[]"), "can't be read"),
    "outside": (lambda top: name_in_manifest(top, "../outside.json"), "no file that a pushed run may hold"),
    "absolute": (lambda top: name_in_manifest(top, "/etc/passwd.json"), "no file that a pushed run may hold"),
    "pickle": (lambda top: name_in_manifest(top, "pytorch_model.bin"), "no file that a pushed run may hold"),
    "code": (lambda top: name_in_manifest(top, "modeling.py"), "no file that a pushed run may hold"),
    "link": (lambda top: link(top / "config.json"), "config.json is no file here"),
    "module": (lambda top: say(top, 'kind = "deeprec"', 'kind = "os:system"'), "trm.kind = 'os:system' names a module"),
    "other catalogue": (lambda top: shuffle(top), "is not the catalogue|was written"),
}  # fmt: skip


def name_in_manifest(top: Path, name: str, digest: str = "0") -> None:
    file = top / "deeprec/manifest.json"
    values = json.loads(file.read_text())
    values["files"][name] = digest
    file.write_text(json.dumps(values))


def link(file: Path) -> None:
    content = file.read_bytes()
    file.unlink()
    (file.parent.parent / "elsewhere.json").write_bytes(content)
    file.symlink_to(file.parent.parent / "elsewhere.json")


def say(top: Path, before: str, after: str) -> None:
    file = top / "deeprec/run.toml"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after, 1))
    name_in_manifest(top, "deeprec/run.toml", file_hash(file))


def shuffle(top: Path) -> None:
    file = top / "deeprec/data/items.parquet"
    frame = pl.read_parquet(file)
    frame.with_columns(pl.col("title").reverse()).write_parquet(file)
    name_in_manifest(top, "deeprec/data/items.parquet", file_hash(file))


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_not_a_whole_honest_run_is_refused_and_leaves_nothing(
    pushed: Path, tmp_path: Path, harm: str
) -> None:
    shutil.copytree(pushed, tmp_path / "given")
    spoil, message = HARMS[harm]
    spoil(tmp_path / "given")
    with pytest.raises(DeepRecError, match=message):
        pull_from_folder(tmp_path / "given", tmp_path / "run", "given")
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("*.part"))


def test_places_that_are_taken_are_left_alone(evaluated: Run, pushed: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(HubError, match="is not empty and no pushed run"):
        push_to_folder(evaluated, tmp_path)
    with pytest.raises(HubError, match="is not empty; name a folder"):
        pull_from_folder(pushed, tmp_path, "pushed")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    push_to_folder(evaluated, tmp_path / "again")
    push_to_folder(evaluated, tmp_path / "again")  # a push before this one is replaced


def test_a_trm_that_is_made_of_histories_needs_them(copy_run: CopyRun, tmp_path: Path) -> None:
    run = copy_run("run", "trm.kind=item-knn")
    with pytest.raises(HubError, match=r"trm.kind = 'item-knn' is made of users' histories.*--histories"):
        push_to_folder(run, tmp_path / "pushed")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["deeprec", *map(str, words)])
        try:
            main()
        except SystemExit as ending:
            if ending.code:
                return capsys.readouterr().err.strip()
        return capsys.readouterr().out

    return run


def test_the_commands(evaluated: Run, tmp_path: Path, said: Callable[..., str]) -> None:
    out = said("push", evaluated.folder, tmp_path / "pushed")
    assert "without users' histories" in out
    assert "simulated by deeprec: no terms" in out
    assert "policy of 'warm_start' on synthetic" in said("pull", tmp_path / "pushed", tmp_path / "run")
    for place, part in (
        ("hf://me", "hf://me: is no repository; write hf://OWNER/NAME"),
        ("hf://me/films", "hf://me/films: the hub"),
        ("hf://-me/fi lms", "hf://-me/fi lms: "),
    ):
        for words in (("push", evaluated.folder, place), ("pull", place, tmp_path / "other")):
            (line,) = said(*words).splitlines()
            assert line.startswith("HubError: ")
            assert part in line
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_whichever_library_the_hub_s_client_is_built_on(library: str) -> None:
    http = pytest.importorskip(library)
    with (
        pytest.raises(HubError, match=r"hf://me/films: the hub refuses or can't be reached \(no such name\)"),
        _told("me/films"),
    ):
        raise http.ConnectError("no such name")
