"""The tiny policy reads histories before it speaks: it learns which title comes next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from small_world import TITLES, build_catalog, build_codec, build_dataset

from deeprec.config import RunConfig, load_config
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.errors import ConfigError
from deeprec.next_item.training import PLAIN
from deeprec.policy.loading import Policy
from deeprec.policy.tiny import build_tiny
from deeprec.rl.reading import MANY, habits_of, pace, read_histories
from deeprec.rollout.title_likelihoods import Likelihoods
from deeprec.rollout.titles import TitleTexts
from deeprec.trm.epochs import Log
from deeprec.trm.resuming import EpochCheckpoint

COUNT = len(TITLES)
USERS = 20 * COUNT


def walking() -> Dataset:
    """Everybody takes the items in the catalogue's order, from a place of their own; the rest is held out."""
    rows: list[dict[str, Any]] = []
    for user in range(USERS):
        for step, part in enumerate(["fit"] * 8 + ["rl", "validation", "test"]):
            item = (user + step) % COUNT + 1
            rows.append({"user_id": f"u{user}", "item_index": item, "timestamp": float(step), "part": part})
    frame = pl.DataFrame(rows, schema_overrides={"item_index": pl.Int32})
    frame = frame.with_columns(rating=pl.lit(None, pl.Float32))
    return Dataset("walk", build_catalog(), frame, build_dataset().users, False)


def config(*changes: str) -> RunConfig:
    sizes = ("policy.width=32", "policy.heads=2", "policy.key_value_heads=1", "policy.inner=64")
    return load_config(overrides=[*sizes, "warm_start.reading_epochs=100", *changes])


def test_titles_that_come_next_become_likely_and_the_rest_stays_random() -> None:
    dataset, codec, settings = walking(), build_codec(), config()
    model = build_tiny(settings.policy, codec.tokenizer, 0)
    examples = dataset.examples("test")
    reader, titles = Likelihoods(model), TitleTexts(codec, dataset.catalog)
    everything = [titles.title(item) for item in range(1, COUNT + 1)]

    def hits() -> float:
        found = reader.behind([(titles.context(example.history), everything) for example in examples])
        return float(
            np.mean(
                [
                    scores.argmax() + 1 == example.target
                    for scores, example in zip(found, examples, strict=True)
                ]
            )
        )

    before, records = hits(), []
    read_histories(Policy(model, codec.tokenizer, codec), dataset, settings, records.append)
    assert before < 0.2
    assert hits() > 0.5
    assert records[0]["epoch"] == 1
    assert max(record["ndcg"] for record in records) > 0.5  # on validation users, for early stopping
    assert not model.training


@pytest.mark.parametrize("many", [False, True])
def test_the_best_epoch_is_the_likeliest_or_with_many_users_the_one_that_ranks_best(
    monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    dataset, codec, settings = walking(), build_codec(), config("warm_start.reading_epochs=3")
    monkeypatch.setattr("deeprec.next_item.training.VALIDATION_USERS", USERS if many else USERS + 1)
    records: list[dict[str, Any]] = []
    model = build_tiny(settings.policy, codec.tokenizer, 0)
    read_histories(Policy(model, codec.tokenizer, codec), dataset, settings, records.append)
    assert len(records) == 3
    assert {"nats" in record for record in records} == {not many}


def test_little_is_read_with_care() -> None:
    for vectors in (True, False):
        settings = config(f"policy.title_vectors={str(vectors).lower()}")
        assert pace(settings, MANY) == habits_of(settings) != PLAIN
        assert pace(settings, MANY + 1) == PLAIN
    assert habits_of(config("policy.title_vectors=true")).title_rate < 1.0


def test_the_same_seed_reads_alike_and_leaves_the_global_state_alone() -> None:
    import torch

    dataset, codec, settings = walking(), build_codec(), config("warm_start.reading_epochs=2")
    state = torch.random.get_rng_state()
    tables = []
    for _ in range(2):
        model = build_tiny(settings.policy, codec.tokenizer, 0)
        read_histories(Policy(model, codec.tokenizer, codec), dataset, settings, lambda _: None)
        tables.append(model.get_input_embeddings().weight.detach().clone())
    assert torch.equal(*tables)
    assert torch.equal(state, torch.random.get_rng_state())


def test_an_interrupted_reading_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.trm.resuming._COST", 1e9)  # a checkpoint after every epoch
    dataset, codec, settings = walking(), build_codec(), config("warm_start.reading_epochs=4")
    checkpoint = EpochCheckpoint(tmp_path / "reading.checkpoints" / "x")

    def read(log: Log, kept: EpochCheckpoint | None) -> np.ndarray:
        model = build_tiny(settings.policy, codec.tokenizer, 0)
        read_histories(Policy(model, codec.tokenizer, codec), dataset, settings, log, kept)
        return model.get_input_embeddings().weight.detach().numpy()

    def interrupt(record: dict[str, Any]) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(interrupt, checkpoint)
    assert checkpoint.epoch == 2
    epochs: list[int] = []
    resumed = read(lambda record: epochs.append(record["epoch"]), checkpoint)
    assert epochs == [3, 4]
    np.testing.assert_array_equal(resumed, read(lambda _: None, None))


def test_titles_of_many_tokens_are_sent_to_text_epochs() -> None:
    dataset, codec = walking(), build_codec()
    other = replace(
        dataset, catalog=Catalog(tuple(replace(i, label=f"{i.label} x") for i in dataset.catalog.items))
    )
    model = build_tiny(config().policy, codec.tokenizer, 0)
    with pytest.raises(
        ConfigError, match=r"several tokens of this policy; set it to 0, and warm_start.text_epochs"
    ):
        read_histories(Policy(model, codec.tokenizer, codec), other, config(), lambda _: None)


def test_a_history_beyond_the_policys_context_is_refused() -> None:
    dataset, codec = walking(), build_codec()
    settings = config("policy.context=64", "rollout.list_history=64")
    model = build_tiny(settings.policy, codec.tokenizer, 0)
    told = (
        r"rollout\.list_history = 64: the policy reads 64 tokens at most; lower it, or raise policy\.context"
    )
    with pytest.raises(ConfigError, match=told):
        read_histories(Policy(model, codec.tokenizer, codec), dataset, settings, lambda _: None)
