"""What is taught of wishes: scripts that say what is meant, and short texts from words to preference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_world import build_codec, build_dataset, settings

from deeprec.config import PolicyConfig, WishesConfig
from deeprec.next_item.model import ItemModel
from deeprec.policy.loading import Policy
from deeprec.policy.tiny import build_tiny
from deeprec.rl.documents import Document
from deeprec.rl.joint import JointPlan, JointTrainer
from deeprec.rl.reading import label_names
from deeprec.rl.scripts import scripted_trajectories
from deeprec.rl.wish_scripts import STEPS, WishScripts
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import ItemKNN
from deeprec.trm.phrases import split_phrases
from deeprec.trm.training import fit_histories
from deeprec.trm.windows import Window

DATASET, CODEC = build_dataset(), build_codec()
SIZES = PolicyConfig(width=32, heads=2, key_value_heads=1, inner=64)


def wishes() -> WishScripts:
    return WishScripts(DATASET, CODEC, settings(), WishesConfig(share=0.5), 0)


def test_short_texts_go_from_words_to_what_they_mean() -> None:
    texts = wishes().texts(3)
    assert texts == wishes().texts(3) != wishes().texts(4)
    assert len(texts) > 24  # of 64: in so small a catalogue some kinds have nothing to say of an item
    assert wishes().batches(1) == [wishes().texts(number) for number in range(STEPS, 2 * STEPS)]
    bare = [CODEC.decode(text.ids).startswith("Wish: ") for text in texts]
    assert 0 < sum(bare) < len(bare)
    for text in texts:
        written = CODEC.decode([token for token, wanted in zip(text.ids, text.mask, strict=True) if wanted])
        read = CODEC.decode(text.ids)[: -len(written)]
        assert "Wish: " in read
        assert read.endswith(f"{TAGS.begin_think}\n")
        assert written.startswith(f"As you wish.{TAGS.begin_preference}")
        assert written.endswith(TAGS.end_preference)


def test_a_script_says_what_is_meant_then_more() -> None:
    teacher, rng = wishes(), np.random.default_rng(0)
    examples = teacher.given(DATASET.examples("rl"), rng)
    assert [bool(example.wish) for example in examples].count(True) in range(1, len(examples))
    assert [replace(example, wish="") for example in examples] == DATASET.examples("rl")
    chunks = scripted_trajectories(
        DATASET, ItemKNN.fit(DATASET), CODEC, settings(list="masked"), 48, 2048, rng, wishes=teacher
    )
    told = [one.trajectory for chunk in chunks for one in chunk if one.example.wish]
    assert told
    for trajectory in told:
        phrases = [split_phrases(turn.preference) for turn in trajectory.turns]
        assert all(set(phrases[0]) <= set(later) for later in phrases)
        assert trajectory.turns[0].thought == "As you wish."


def test_what_is_heard_is_learned(tmp_path: Path) -> None:
    policy = Policy(build_tiny(SIZES, CODEC.tokenizer, 0), CODEC.tokenizer, CODEC)
    items = ItemModel(policy.model, policy.tokenizer, label_names(policy, DATASET))
    plan = JointPlan(20, 4, 2e-3, 4, 0, tmp_path)
    made = JointTrainer(items, [], fit_histories(DATASET), plan, wishes().batches)
    made.items.model.train()
    losses = [made.hear(wishes().texts(number), 2e-3) for number in range(20)]
    assert losses[-1] < losses[0] - 1.0


def test_behind_each_step_on_words_a_part_of_the_reading_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy(build_tiny(SIZES, CODEC.tokenizer, 0), CODEC.tokenizer, CODEC)
    items = ItemModel(policy.model, policy.tokenizer, label_names(policy, DATASET))
    made = JointTrainer(
        items,
        wishes().texts(0)[:4],
        fit_histories(DATASET),
        JointPlan(20, 4, 2e-3, 4, 0, tmp_path),
        wishes().batches,
    )
    done: list[str] = []
    shown: list[Window] = []

    def hear(texts: Sequence[Document], rate: float) -> float:
        done.append("hear")
        return 1.0

    def read(windows: Sequence[Window], rate: float) -> float:
        done.append("read")
        shown.extend(windows)
        return 2.0

    monkeypatch.setattr(made, "hear", hear)
    monkeypatch.setattr(made, "read", read)
    windows = [list(history)[:5] for history in made.histories[:9]]
    losses = made.iterate(0, made.scripts, windows)
    assert done == ["hear", "read"] * STEPS
    assert sorted(shown) == sorted(windows)
    assert (losses.heard, losses.read) == (1.0, 2.0)
    # Of fewer windows than steps each is still read once.
    done.clear()
    made.iterate(1, made.scripts, windows[:2])
    assert done.count("read") == 2
