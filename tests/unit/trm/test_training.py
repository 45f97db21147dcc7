from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest

from deeprec.config import TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.phrases import item_phrases
from deeprec.trm.quality import compare
from deeprec.trm.retriever import TRM
from deeprec.trm.training import fit


def _with_test_only_item(dataset: Dataset) -> tuple[Dataset, int]:
    """The data set with its last item removed everywhere but in one user's test target."""
    item = dataset.catalog.n_items
    frame = dataset.interactions.filter((pl.col("item_index") != item) | (pl.col("part") == "test"))
    row = frame.with_row_index().filter(pl.col("part") == "test")["index"][0]
    index = pl.int_range(pl.len())
    planted = pl.when(index == row).then(pl.lit(item, pl.Int32)).otherwise(pl.col("item_index"))
    frame = frame.with_columns(planted.alias("item_index"))
    return Dataset(dataset.name, dataset.catalog, frame, dataset.users), item


def test_item_seen_only_in_test_learns_no_id(small_dataset: Dataset, small_config: TRMConfig) -> None:
    dataset, item = _with_test_only_item(small_dataset)
    config = small_config.model_copy(update={"epochs": 10})
    trm = fit(dataset, build_text_encoder(config, dataset.catalog), config, device="cpu")
    assert not trm.seen[item]
    assert not trm.network.encoder.ids.weight[item].any()  # zero from the start, never a gradient
    assert trm.network.encoder.ids.weight[1].any()
    wanted = "; ".join(item_phrases(dataset.catalog[item]))
    plain, steered = (trm.score([[]], [text])[0, item] for text in (None, wanted))
    assert steered > plain  # reachable by its text


def test_training_does_not_depend_on_held_out_targets(
    small_dataset: Dataset, small_config: TRMConfig
) -> None:
    # Without validation examples nothing but the fit part can have an effect.
    config = small_config.model_copy(update={"epochs": 1, "preference_steps": 20})
    fit_only = small_dataset.interactions.filter(pl.col("part") == "fit")
    rest = small_dataset.interactions.filter(pl.col("part").is_in(["fit", "rl", "test"]))
    vectors = []
    for frame in (fit_only, rest):
        dataset = Dataset("cut", small_dataset.catalog, frame, small_dataset.users)
        encoder = build_text_encoder(config, dataset.catalog)
        vectors.append(fit(dataset, encoder, config, device="cpu").item_vectors())
    assert np.array_equal(*vectors)


def test_seed_decides(small_dataset: Dataset, small_config: TRMConfig) -> None:
    config = small_config.model_copy(update={"epochs": 1, "preference_steps": 20})
    encoder = build_text_encoder(config, small_dataset.catalog)
    first, second, other = (
        fit(small_dataset, encoder, config, seed=seed, device="cpu").item_vectors() for seed in (3, 3, 4)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_measuring_a_step_changes_nothing(small_dataset: Dataset, small_config: TRMConfig) -> None:
    config = small_config.model_copy(update={"epochs": 2, "preference_steps": 20})
    encoder = build_text_encoder(config, small_dataset.catalog)
    measured = []

    @contextmanager
    def threads(step: Callable[[], object]) -> Iterator[None]:
        step()
        measured.append(step)
        yield

    plain, probed = (
        fit(small_dataset, encoder, config, seed=3, device="cpu", threads=given).item_vectors()
        for given in (None, threads)
    )
    assert len(measured) == 1
    assert np.array_equal(plain, probed)


def test_nothing_to_train_on_is_an_error(small_dataset: Dataset, small_config: TRMConfig) -> None:
    empty = small_dataset.interactions.filter(pl.col("part") != "fit")
    dataset = Dataset("empty", small_dataset.catalog, empty, small_dataset.users)
    with pytest.raises(TrainingError, match="data set 'empty': no user has two interactions"):
        fit(dataset, build_text_encoder(small_config, dataset.catalog), small_config)


def test_epochs_are_logged_and_stop_early(small_dataset: Dataset, small_config: TRMConfig) -> None:
    config = small_config.model_copy(
        update={"epochs": 40, "patience": 1, "learning_rate": 0.02, "preference_steps": 20}
    )
    records: list[dict[str, float]] = []
    fit(
        small_dataset,
        build_text_encoder(config, small_dataset.catalog),
        config,
        log=records.append,
        device="cpu",
    )
    *epochs, preferences = records
    assert [record["epoch"] for record in epochs] == list(range(1, len(epochs) + 1))
    assert len(epochs) < 40
    assert {"loss", "tokens", "train_seconds", "ndcg", "recall", "median_rank"} <= epochs[0].keys()
    assert epochs[-1]["ndcg"] <= max(record["ndcg"] for record in epochs[:-1])
    assert {"preference_loss", "ndcg_true_phrase", "median_rank_true_phrase"} <= preferences.keys()


def test_what_is_kept_is_the_best_epoch(small_trm: TRM, small_dataset: Dataset) -> None:
    records: list[dict[str, float]] = []
    config = small_trm.config.model_copy(update={"preference_steps": 0})
    trm = fit(small_dataset, small_trm.encoder, config, log=records.append, device="cpu")
    best = max(record["ndcg"] for record in records if "epoch" in record)
    rows = {row.method: row for row in compare(trm, small_dataset, "validation")}
    assert rows["trm"].ndcg_at_10 == pytest.approx(best, abs=1e-5)
    assert rows["trm"].ndcg_at_10 > 1.5 * rows["popularity"].ndcg_at_10


def test_a_lost_loss_is_named(small_dataset: Dataset, small_config: TRMConfig) -> None:
    config = small_config.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"lower trm\.learning_rate \(now 1e\+30\)"):
        fit(small_dataset, build_text_encoder(config, small_dataset.catalog), config, device="cpu")


def test_padding_changes_no_loss(small_dataset: Dataset, small_config: TRMConfig) -> None:
    """Batches of other sizes train the same positions."""
    config = small_config.model_copy(update={"epochs": 1, "preference_steps": 0})
    counts = []
    for tokens in (60, 600):
        records: list[dict[str, float]] = []
        sized = config.model_copy(update={"tokens_per_batch": tokens})
        fit(
            small_dataset,
            build_text_encoder(sized, small_dataset.catalog),
            sized,
            log=records.append,
            device="cpu",
        )
        counts.append(records[0]["tokens"])
    assert counts[0] == counts[1] == sum(len(user.history) for user in small_dataset.fit_histories())
