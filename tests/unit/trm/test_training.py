from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from deeprec.config import TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.trm import training
from deeprec.trm.bank import build_bank
from deeprec.trm.phrases import item_phrases
from deeprec.trm.quality import compare, steering_overlap
from deeprec.trm.retriever import TRM
from deeprec.trm.text import build_text_encoder
from deeprec.trm.training import cut_windows, fit, softmax_backward


def test_softmax_gradient_is_that_of_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_LOGITS_PER_CHUNK", 100)  # several blocks
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(23, 6, generator=generator, dtype=torch.float64)
    e = torch.randn(17, 6, generator=generator, dtype=torch.float64)
    wanted = torch.randint(0, 17, (23,), generator=generator)
    ours, theirs = ([x.clone().requires_grad_() for x in (q, e)] for _ in range(2))
    losses = torch.nn.functional.cross_entropy(theirs[0] @ theirs[1].T / 0.1, wanted, reduction="none")
    losses.mean().backward()
    value = softmax_backward(ours[0], ours[1], wanted, 0.1, 9)
    assert value == pytest.approx(float(losses[:9].detach().mean()), rel=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_windows_cover_every_history_in_order() -> None:
    histories = [tuple(range(1, 24)), (5, 6), (7,)]
    rng = np.random.default_rng(0)
    for _ in range(5):
        windows = cut_windows(histories, 5, rng)
        assert max(map(len, windows)) <= 5
        assert [item for window in windows for item in window] == [*range(1, 24), 5, 6, 7]


def test_bank_sets_are_true_of_their_item(small_dataset: Dataset, small_config: TRMConfig) -> None:
    catalog = small_dataset.catalog
    encoder = build_text_encoder(small_config, catalog)
    bank = build_bank(catalog, encoder, "", np.random.default_rng(0))
    assert not bank.vectors[0].any()
    items = [1, 2, 3, 50]
    for item, text in zip(items, bank.sample_texts(items, np.random.default_rng(1)), strict=True):
        assert set(text.split("; ")) <= set(item_phrases(catalog[item]))
        assert np.array_equal(bank.vectors[bank.texts.index(text)], encoder.encode([text])[0])


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
    assert not trm.network.ids.weight[item].any()  # zero from the start, never a gradient
    assert trm.network.ids.weight[1].any()
    wanted = "; ".join(item_phrases(dataset.catalog[item]))
    plain, steered = (trm.score([[]], [text])[0, item] for text in (None, wanted))
    assert steered > plain  # reachable by its text


def test_training_does_not_depend_on_held_out_targets(
    small_dataset: Dataset, small_config: TRMConfig
) -> None:
    # Without validation examples nothing but the fit part can have an effect.
    config = small_config.model_copy(update={"epochs": 1})
    fit_only = small_dataset.interactions.filter(pl.col("part") == "fit")
    rest = small_dataset.interactions.filter(pl.col("part").is_in(["fit", "rl", "test"]))
    vectors = []
    for frame in (fit_only, rest):
        dataset = Dataset("cut", small_dataset.catalog, frame, small_dataset.users)
        encoder = build_text_encoder(config, dataset.catalog)
        vectors.append(fit(dataset, encoder, config, device="cpu").item_vectors())
    assert np.array_equal(*vectors)


def test_seed_decides(small_dataset: Dataset, small_config: TRMConfig) -> None:
    config = small_config.model_copy(update={"epochs": 1})
    encoder = build_text_encoder(config, small_dataset.catalog)
    first, second, other = (
        fit(small_dataset, encoder, config, seed=seed, device="cpu").item_vectors() for seed in (3, 3, 4)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_true_phrase_lifts_the_target_and_texts_differ(small_trm: TRM, small_dataset: Dataset) -> None:
    rows = {row.method: row for row in compare(small_trm, small_dataset, "validation")}
    assert rows["trm + true phrase"].median_rank <= 0.75 * rows["trm"].median_rank
    assert rows["trm + unknown words"] == rows["trm"].__class__(
        **{**vars(rows["trm"]), "method": "trm + unknown words"}
    )
    assert steering_overlap(small_trm, small_dataset, small_dataset.examples("validation"), 10) < 0.6


def test_steered_lists_fit_their_text(small_trm: TRM, small_dataset: Dataset) -> None:
    catalog = small_dataset.catalog
    histories = [example.history for example in small_dataset.examples("validation")][:50]
    genre = catalog[1].categories[0]
    share = {}
    for name, text in (("plain", None), ("steered", genre)):
        found = small_trm.retrieve(histories, [text] * 50, 5).item_indices.ravel()
        share[name] = np.mean([genre in catalog[int(item)].categories for item in found])
    assert share["steered"] > 2 * share["plain"]


def test_nothing_to_train_on_is_an_error(small_dataset: Dataset, small_config: TRMConfig) -> None:
    empty = small_dataset.interactions.filter(pl.col("part") != "fit")
    dataset = Dataset("empty", small_dataset.catalog, empty, small_dataset.users)
    with pytest.raises(TrainingError, match="data set 'empty': no user has two interactions"):
        fit(dataset, build_text_encoder(small_config, dataset.catalog), small_config)


def test_epochs_are_logged_and_stop_early(small_dataset: Dataset, small_config: TRMConfig) -> None:
    config = small_config.model_copy(update={"epochs": 40, "patience": 1, "learning_rate": 0.02})
    records: list[dict[str, float]] = []
    fit(
        small_dataset,
        build_text_encoder(config, small_dataset.catalog),
        config,
        log=records.append,
        device="cpu",
    )
    assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))
    assert len(records) < 40
    assert {"loss", "ndcg", "ndcg_true_phrase", "median_rank", "median_rank_true_phrase"} <= records[0].keys()
    assert records[-1]["ndcg"] <= max(record["ndcg"] for record in records[:-1])
