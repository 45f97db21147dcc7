"""Reading, speaking and ranking, learned side by side by one set of weights."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from file_limits import files_up_to
from small_world import build_codec, build_dataset, settings

from deeprec.config import PolicyConfig
from deeprec.errors import TrainingError
from deeprec.next_item.model import ItemModel
from deeprec.policy.loading import Policy
from deeprec.policy.tiny import build_tiny
from deeprec.rl.documents import ListDocument
from deeprec.rl.joint import JointPlan, JointTrainer, Losses, fit_jointly, learning_share
from deeprec.rl.reading import label_names
from deeprec.rl.scripts import scripted_trajectories
from deeprec.rollout.tags import TAGS
from deeprec.rollout.titles import TitleTexts
from deeprec.trm.baselines import ItemKNN
from deeprec.trm.training import fit_histories

DATASET, CODEC = build_dataset(), build_codec()
SIZES = PolicyConfig(width=32, heads=2, key_value_heads=1, inner=64)


@pytest.fixture(scope="module")
def scripts() -> list[ListDocument]:
    config = settings(list="masked", list_history=4)
    chunks = scripted_trajectories(
        DATASET, ItemKNN.fit(DATASET), CODEC, config, 48, 2048, np.random.default_rng(0)
    )
    return [one.list_document for chunk in chunks for one in chunk if one.trajectory.is_valid]


def trainer(scripts: list[ListDocument], folder: Path, steps: int = 12) -> JointTrainer:
    policy = Policy(build_tiny(SIZES, CODEC.tokenizer, 0), CODEC.tokenizer, CODEC)
    items = ItemModel(policy.model, policy.tokenizer, label_names(policy, DATASET))
    return JointTrainer(items, scripts, fit_histories(DATASET), JointPlan(steps, 4, 2e-3, 4, 0, folder))


def test_scripts_end_where_the_list_is_drawn_with_the_history_again(scripts: list[ListDocument]) -> None:
    titles = TitleTexts(CODEC, DATASET.catalog)
    for script in scripts:
        assert CODEC.decode([script.ids[script.opened - 1]]) == TAGS.begin_list
        again = script.ids[script.opened :]
        assert again[0] == titles.start[0]
        assert 2 <= len(again) <= 5
        assert not any(script.mask[script.opened :])
        assert titles.title(script.target)[0] not in again
        assert script.mask[script.opened - 1] == 1  # opening the list is the policy's


def test_windows_behind_a_script_fit_into_the_policys_positions(
    scripts: list[ListDocument], tmp_path: Path
) -> None:
    made = trainer(scripts, tmp_path)
    made.positions = max(script.opened for script in scripts) + 2
    contexts, windows = made._behind(np.random.default_rng(0))
    read = [len(ids) + 1 + len(window) - 1 for ids, window in zip(contexts, windows, strict=True)]
    assert max(read) == made.positions
    assert min(map(len, windows)) >= 1
    made.positions = None
    _, uncut = made._behind(np.random.default_rng(0))
    for cut, whole in zip(windows, uncut, strict=True):  # the same draws
        assert list(whole)[: len(cut)] == list(cut)


def test_every_loss_falls(scripts: list[ListDocument], tmp_path: Path) -> None:
    made = trainer(scripts, tmp_path, steps=30)
    windows = [list(history)[:5] for history in made.histories]
    losses = [made.iterate(number, scripts[:8], windows) for number in range(30)]
    for name in Losses.__dataclass_fields__:
        assert getattr(losses[-1], name) < getattr(losses[0], name) - 0.1


def test_an_interrupted_one_ends_as_an_uninterrupted_one(scripts: list[ListDocument], tmp_path: Path) -> None:
    whole = trainer(scripts, tmp_path / "whole")
    fit_jointly(whole, lambda _: None)
    broken = trainer(scripts, tmp_path / "broken")
    rows: list[float] = []

    def interrupt(figures: dict[str, float]) -> None:
        rows.append(figures["step"])
        if len(rows) == 6:  # after its checkpoint was asked for, before it was made
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_jointly(broken, interrupt)
    again = trainer(scripts, tmp_path / "broken")
    fit_jointly(again, lambda figures: rows.append(figures["step"]))
    assert rows[6] == 6.0  # the fifth was the last that was whole
    for one, other in zip(whole.items.model.parameters(), again.items.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_lost_loss_is_named(scripts: list[ListDocument], tmp_path: Path) -> None:
    made = trainer(scripts, tmp_path)
    with torch.no_grad():
        made.items.model.get_input_embeddings().weight[:] = float("nan")
    with pytest.raises(TrainingError, match=r"step 1; lower warm_start\.learning_rate"):
        fit_jointly(made, lambda _: None)


def test_the_rate_rises_and_falls() -> None:
    shares = [learning_share(number, 400) for number in range(400)]
    assert shares.index(max(shares)) == 19
    assert shares[-1] == pytest.approx(0.0, abs=1e-9)


def test_a_full_disk_and_a_damaged_checkpoint_are_told(
    scripts: list[ListDocument], tmp_path: Path, caplog: pytest.LogCaptureFixture
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
