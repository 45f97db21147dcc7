"""Reading, speaking and ranking, learned side by side by one set of weights."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from file_limits import files_up_to
from small_world import build_codec, build_dataset, settings
from transformers import PreTrainedModel

from deeprec.config import PolicyConfig
from deeprec.errors import TrainingError
from deeprec.next_item.model import ItemModel
from deeprec.next_item.training import Habits
from deeprec.policy.loading import Policy
from deeprec.policy.tiny import build_tiny
from deeprec.rl import course
from deeprec.rl.course import Checked, fit_jointly
from deeprec.rl.documents import Document
from deeprec.rl.joint import JointPlan, JointTrainer, learning_share
from deeprec.rl.reading import label_names
from deeprec.rl.scripts import scripted_trajectories
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import ItemKNN
from deeprec.trm.training import fit_histories

DATASET, CODEC = build_dataset(), build_codec()
SIZES = PolicyConfig(width=32, heads=2, key_value_heads=1, inner=64)


@pytest.fixture(scope="module")
def scripts() -> list[Document]:
    config = settings(list="masked", list_history=4)
    chunks = scripted_trajectories(
        DATASET, ItemKNN.fit(DATASET), CODEC, config, 48, 2048, np.random.default_rng(0)
    )
    return [one.spoken for chunk in chunks for one in chunk if one.trajectory.is_valid]


def trainer(scripts: list[Document], folder: Path, steps: int = 12) -> JointTrainer:
    policy = Policy(build_tiny(SIZES, CODEC.tokenizer, 0), CODEC.tokenizer, CODEC)
    items = ItemModel(policy.model, policy.tokenizer, label_names(policy, DATASET))
    return JointTrainer(items, scripts, fit_histories(DATASET), JointPlan(steps, 4, 2e-3, 4, 0, folder))


def test_scripts_end_where_the_list_is_drawn(scripts: list[Document]) -> None:
    for script in scripts:
        assert CODEC.decode([script.ids[-1]]) == TAGS.begin_list
        assert script.mask[-1] == 1  # opening the list is the policy's


def test_every_loss_falls(scripts: list[Document], tmp_path: Path) -> None:
    made = trainer(scripts, tmp_path, steps=30)
    windows = [list(history)[:5] for history in made.histories]
    losses = [made.iterate(number, scripts[:8], windows) for number in range(30)]
    assert losses[-1].spoken < losses[0].spoken - 0.1
    # What scripts take away of the reading comes back: far nearer to the reader than another untrained policy is.
    other = build_tiny(SIZES, CODEC.tokenizer, 1)
    made.items.model.load_state_dict(other.state_dict())
    assert losses[-1].read < made.read(windows, 0.0) / 3


def test_titles_go_a_share_of_the_way_of_words(scripts: list[Document], tmp_path: Path) -> None:
    moved = []
    for share in (1.0, 0.25):
        made = trainer(scripts, tmp_path)
        made.plan = replace(made.plan, habits=Habits(title_rate=share))
        table = made.items.model.get_input_embeddings().weight
        before = table.detach().clone()
        made.speak(scripts[:8], 1e-3)
        moved.append(table.detach() - before)
    titles = made.table[1:]
    assert torch.allclose(0.25 * moved[0][titles], moved[1][titles], atol=1e-7)
    moved[0][titles] = moved[1][titles] = 0.0
    assert torch.equal(moved[0], moved[1])
    assert moved[0].any()


def test_the_best_look_is_kept_and_ends_it(scripts: list[Document], tmp_path: Path) -> None:
    # Speaking comes first, up to 99 %; then lists as good as before, but for chance. Two looks at worse ones end it.
    told = [(0.5, 0.9), (0.995, 0.301), (1.0, 0.3), (1.0, 0.25), (0.98, 0.5), (1.0, 0.9)]
    said = iter([Checked(*one) for one in told])
    weights: list[dict[str, torch.Tensor]] = []

    def check(model: PreTrainedModel) -> Checked:
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(said)

    made = trainer(scripts, tmp_path, steps=14)
    rows: list[dict[str, float]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course, "CHECK_EVERY", 2)
        assert fit_jointly(made, rows.append, check) == Checked(1.0, 0.3)
    assert [row["heldout/ndcg@10"] for row in rows] == [0.9, 0.301, 0.3, 0.25, 0.5]
    for name, value in made.items.model.state_dict().items():
        assert torch.equal(value, weights[2][name])


def test_it_ends_when_its_minutes_are_over(scripts: list[Document], tmp_path: Path) -> None:
    made = trainer(scripts, tmp_path)
    rows: list[dict[str, float]] = []
    made.plan = replace(made.plan, minutes=1e-9)
    assert fit_jointly(made, rows.append, lambda _: Checked(0.1, 0.1)) is None
    assert not rows


def test_what_was_learned_since_the_latest_look_is_not_lost_when_the_time_is_over(
    scripts: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(scripts, tmp_path, steps=10)
    made.plan = replace(made.plan, minutes=1.0)
    # A clock that makes an iteration last 11 seconds (it is read twice in each): the time is over after the sixth.
    now = iter(5.5 * tick for tick in range(100))
    # The stage's own clock alone: progress bars have threads that read the other.
    monkeypatch.setattr(course, "time", SimpleNamespace(monotonic=lambda: next(now)))
    monkeypatch.setattr(course, "CHECK_EVERY", 4)
    said = iter([Checked(0.0, 0.0), Checked(0.8, 0.1)])
    assert fit_jointly(made, lambda _: None, lambda _: next(said)) == Checked(0.8, 0.1)


def test_an_interrupted_one_ends_as_an_uninterrupted_one(scripts: list[Document], tmp_path: Path) -> None:
    whole = trainer(scripts, tmp_path / "whole")
    fit_jointly(whole, lambda _: None)
    broken = trainer(scripts, tmp_path / "broken")
    rows: list[float] = []

    def interrupt(figures: dict[str, float]) -> None:
        rows.append(figures["step"])
        if len(rows) == 2:  # before its checkpoint was made
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_jointly(broken, interrupt)
    again = trainer(scripts, tmp_path / "broken")
    fit_jointly(again, lambda figures: rows.append(figures["step"]))
    assert rows == [6.0, 12.0, 12.0]
    for one, other in zip(whole.items.model.parameters(), again.items.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_lost_loss_is_named(scripts: list[Document], tmp_path: Path) -> None:
    made = trainer(scripts, tmp_path)
    with torch.no_grad():
        made.items.model.get_input_embeddings().weight[:] = float("nan")
    with pytest.raises(TrainingError, match=r"step 1; lower warm_start\.learning_rate"):
        fit_jointly(made, lambda _: None)


def test_the_rate_rises_and_stays() -> None:
    shares = [learning_share(number, 400) for number in range(400)]
    assert shares[0] == 0.05
    assert shares.index(1.0) == 19
    assert set(shares[19:]) == {1.0}


def test_a_full_disk_and_a_damaged_checkpoint_are_told(
    scripts: list[Document], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def ignore(_: object) -> None:
        pass

    with files_up_to(10_000), pytest.raises(TrainingError, match=r"joint.*can't be written"):
        fit_jointly(trainer(scripts, tmp_path, steps=1), ignore)
    assert not list(tmp_path.iterdir())
    fit_jointly(trainer(scripts, tmp_path, steps=1), ignore)
    file = tmp_path / "joint" / "state.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        fit_jointly(trainer(scripts, tmp_path, steps=1), ignore)
    assert f"{file} has 1000 bytes" in caplog.text
    assert "so the warm start begins again" in caplog.text
