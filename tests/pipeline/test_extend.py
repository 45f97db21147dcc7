"""docs/howto/extend.md does what it says: its modules as they are printed, its commands as they are typed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deeprec.cli.app import app
from deeprec.config import load_config
from deeprec.disk import read_jsonl
from deeprec.pipeline import build_deeprec, load_stages
from deeprec.run import Run

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "extend.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
SMALL = (
    "trm.text_dim=16", "policy.width=32", "policy.heads=2", "policy.key_value_heads=1", "policy.inner=64",
    "policy.pieces=300", "warm_start.text_epochs=0", "warm_start.script_steps=20",
    "warm_start.trajectories_per_step=8", "warm_start.learning_rate=0.02", "rollout.history=4", "rollout.retrieved=4",
    "rollout.recommended=3", "rollout.max_retrievals=2", "rollout.segment_tokens=40", "rollout.response_tokens=200",
    "rl.users_per_step=4", "rl.rollouts_per_user=2", "rl.evaluate_users=4", "rl.cold_start.steps=1",
    "rl.recommendation.steps=1", "evaluation.max_users=12", "evaluation.bootstrap=20",
    "data.rl_targets=2", "rl.collapse={}",
)  # fmt: skip


def modules() -> dict[str, str]:
    """File name -> code of the page's Python blocks, which begin with their names."""
    return {code.partition("\n")[0][2:]: code for language, code in BLOCKS if language == "python"}


def commands() -> list[list[str]]:
    """The words of the commands of the page, without `deeprec`."""
    (block,) = (code for language, code in BLOCKS if language == "sh")
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("deeprec ")]


def write_plays(file: Path) -> None:
    """Sixty songs of five kinds, and listeners who keep to one or two of them."""
    rng = np.random.default_rng(3)
    kinds = ("ballad", "blues", "disco", "folk", "punk")
    songs = [f"{word} {kinds[n % 5]} {n}" for n, word in enumerate(("Old", "New", "Slow") * 20)]
    lines = []
    for who in range(40):
        liked = [song for n, song in enumerate(songs) if n % 5 in (who % 5, who // 8)]
        for place, song in enumerate(rng.permutation(liked)[:11]):
            number = songs.index(song)
            play = {
                "who": f"u{who}",
                "song": str(song),
                "kinds": [kinds[number % 5]],
                "when": 1_600_000_000 + place,
            }
            lines.append(json.dumps(play))
    file.write_text("\n".join(lines), encoding="utf-8")


def invoke(words: list[str]) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_module_of_the_page_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert len(modules()) == 6
    for name, code in modules().items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    write_plays(tmp_path / "plays.jsonl")

    quickstart, fit, evaluate = commands()
    small = [word for setting in SMALL for word in ("--set", setting)]
    invoke([*quickstart, *small])
    assert "my_rival:BY_KIND" in invoke(fit)
    found = json.loads(invoke([*evaluate, "--json"]))

    run = Run.open(Path("runs/mine"))
    assert found["dataset"] == "plays"
    rival, popular = (found["methods"][name]["metrics"] for name in ("my_rival:BY_KIND", "popularity"))
    assert rival["recall@10"]["mean"] > popular["recall@10"]["mean"]
    for row in read_jsonl(run.trajectories):
        assert row["prompt"].startswith(
            "You pick songs. Ask for 4 songs at a time with <|begin_of_preference|>a kind"
        )
        assert row["prompt"].count("\n- ") == 4
    for stage in ("cold_start", "recommendation"):  # logged in both, though one alone names it
        rows = [row for row in read_jsonl(run.metrics) if row.get("stage") == stage and "reward" in row]
        assert rows
        assert all(0.0 <= row["reward/my_reward:brevity"] <= 1.0 for row in rows)
    assert run.finished()["rival:my_rival:BY_KIND"]["items_met"] == 60
    dataset, trm = load_stages(run)
    deeprec = build_deeprec(run, dataset, trm)
    deeprec.recommend(dataset.examples("test")[:2], 3)
    assert type(deeprec.environment.engine).__name__ == "Timed"
    assert deeprec.environment.engine.seconds > 0  # type: ignore[attr-defined]


def test_the_settings_of_the_page_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (code for language, code in BLOCKS if language == "toml")
    (tmp_path / "mine.toml").write_text(block)
    weights = load_config(file=tmp_path / "mine.toml").rl.recommendation.weights
    assert weights["my_reward:brevity"] == 0.2


def test_the_page_lists_the_fields_of_a_prompt() -> None:
    from deeprec.rollout.own_prompt import FIELDS

    told = PAGE[PAGE.index("## A prompt") : PAGE.index("## An engine")]
    assert all(f"{{{name}}}" in told for name in FIELDS if not name.startswith("t."))
    assert all(name.rpartition("_")[2] in told for name in FIELDS)
