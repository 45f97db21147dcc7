"""What the documentation shows really runs: the examples, and the Python code of the README."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from deeprec import Retriever, Run, load_config
from deeprec.data.stage import run_data
from deeprec.rollout.tags import TAGS
from deeprec.trm.stage import run_trm

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "data.synthetic.users=40",
    "data.synthetic.items=60",
    "data.synthetic.interactions_per_user=12",
    "trm.epochs=1",
    "trm.preference_steps=20",
    "policy.width=32",
    "policy.heads=2",
    "policy.key_value_heads=1",
    "policy.inner=64",
    "warm_start.script_steps=6",
    "rl.evaluate_users=4",
    "rl.cold_start.steps=1",
    "rl.recommendation.steps=1",
    "evaluation.max_users=8",
    "evaluation.bootstrap=20",
)


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_own_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = load_example("own_data").main(tmp_path)
    assert "test        ann: Kettle, Toaster, Desk lamp, Stapler -> Night light\n" in capsys.readouterr().out
    kettle = dataset.catalog.items[0]
    assert (kettle.label, kettle.categories) == ("Kettle", ("kitchen", "steel"))
    assert dataset.examples("test")[0].ratings == (5, 4, 5, 2)


def test_own_trm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    example = load_example("own_trm")
    found = example.main(tmp_path / "run", SMALL)
    assert len(set(found.ranking)) == 10
    assert found.trajectory is not None
    assert found.trajectory.response.count(TAGS.begin_items) == len(
        [turn for turn in found.trajectory.turns if turn.retrieved]
    )


def test_own_trm_is_a_retriever_that_a_preference_steers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    settings = ["data.name=synthetic", "trm.kind=own_trm:build", *SMALL]
    run = Run.create(tmp_path / "run", load_config("ci", overrides=settings))
    dataset = run_data(run)
    trm = run_trm(run, dataset)
    assert isinstance(trm, Retriever)
    wanted = dataset.catalog.items[0].categories[0]
    history = [dataset.examples("test")[0].history]

    def share(preferences: list[str] | None) -> float:
        found = trm.retrieve(history, preferences, k=10).item_indices[0]
        return sum(wanted in dataset.catalog[int(item)].categories for item in found) / 10

    assert share([wanted]) > share(None)
    assert (
        trm.retrieve(history, [" "], k=10).item_indices.tolist()
        == trm.retrieve(history, k=10).item_indices.tolist()
    )


def test_a_wish_beside_silence(copy_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    silent, asked = load_example("wish").main(copy_run().folder, "war films")
    assert len(set(silent.ranking)) == len(set(asked.ranking)) == 10
    shown = capsys.readouterr().out
    assert shown.startswith("nothing said; asked for: ")
    assert 'said: "war films"; asked for: ' in shown


def test_the_service_is_asked_from_outside(
    copy_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    second = load_example("serve_and_ask").main(copy_run().folder)
    first = capsys.readouterr().out.splitlines()[1:5]
    assert first[0] == "  by trm"  # nobody knows the visitor: what is popular
    clicked, answered = first[1].strip(), [item["title"] for item in second["items"]]
    assert len(answered) == 3
    assert clicked not in answered


def python_of_readme() -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


def test_the_python_code_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is printed, but for a smaller run: the preset `ci` with settings smaller still."""
    preset = 'load_config("synthetic")'
    code = python_of_readme()
    assert code.count(preset) == 1
    smaller = f'load_config("ci", overrides=["data.name=synthetic", *{SMALL!r}])'
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace(preset, smaller), "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "report.html" in shown
    assert len(shown.strip().splitlines()) == 11  # the path of the report, then ten titles
