from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from deeprec.config import TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.trm.bank import PHRASES, build_bank, phrase_features
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.model import PreferenceBranch
from deeprec.trm.phrases import item_phrases, title_phrases
from deeprec.trm.retriever import TRM
from deeprec.trm.training import fit, fit_preferences


def test_bank_says_what_is_true_of_an_item(small_dataset: Dataset, small_trm: TRM) -> None:
    catalog = small_dataset.catalog
    bank = build_bank(catalog, small_trm.encoder, "", np.random.default_rng(0))
    talk = {bank.texts[place] for place in bank.talk.tolist()}
    assert not bank.vectors[0].any()
    items = np.repeat([1, 2, 3, 50], 200)
    drawn = bank.sample(items, np.random.default_rng(1))
    assert drawn.shape == (800, PHRASES)
    kinds = {"plain": 0, "wrapped": 0, "talk": 0}
    for item, row in zip(items.tolist(), drawn.tolist(), strict=True):
        texts = [bank.texts[place] for place in row if place]
        assert texts
        assert len(texts) == len(set(texts))
        true = [*item_phrases(catalog[item]), *title_phrases(catalog[item])]
        kinds["plain"] += set(texts) <= set(true)
        kinds["talk"] += len(texts) == 1 and texts[0] in talk
        kinds["wrapped"] += any(text not in true and text not in talk for text in texts)
        assert all(text in talk or any(phrase in text for phrase in true) for text in texts)
    assert min(kinds.values()) > 40
    assert {int((row > 0).sum()) for row in drawn} == {1, 2, 3}
    place = drawn[0, 0]
    assert np.array_equal(bank.vectors[place], small_trm.encoder.encode([bank.texts[place]])[0])


def test_held_out_phrases_are_never_said(small_dataset: Dataset, small_trm: TRM) -> None:
    catalog = small_dataset.catalog
    hidden = set(item_phrases(catalog[1]))
    bank = build_bank(catalog, small_trm.encoder, "", np.random.default_rng(0), hidden)
    assert not any(word in text for word in hidden for text in bank.texts)
    drawn = bank.sample(np.full(50, 1), np.random.default_rng(0))  # only its title is left to say
    said = {bank.texts[place] for place in set(drawn.ravel().tolist()) - {0, *bank.talk.tolist()}}
    assert said
    assert all(any(piece in text for piece in title_phrases(catalog[1])) for text in said)


def test_features_are_sums_of_phrases(small_dataset: Dataset, small_trm: TRM) -> None:
    features = phrase_features(small_dataset.catalog, small_trm.encoder)
    assert not features[0].any()
    item = small_dataset.catalog[3]
    expected = small_trm.encoder.encode([item.title, *item_phrases(item)]).sum(axis=0)
    np.testing.assert_allclose(features[3], expected, atol=1e-5)


def test_basis_keeps_what_texts_have_in_common(small_trm: TRM) -> None:
    features = small_trm.texts().features
    branch = PreferenceBranch(features.shape[1], 8, features.shape[1])
    branch.start_from(torch.from_numpy(features[1:]))
    mapped = branch.items(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(mapped @ mapped.T, features @ features.T, atol=1e-3)


def test_branch_leaves_the_plain_ranking_alone(small_dataset: Dataset, small_config: TRMConfig) -> None:
    histories = [example.history for example in small_dataset.examples("test")]
    scores = []
    for steps in (0, 40):
        config = small_config.model_copy(update={"epochs": 2, "preference_steps": steps})
        trm = fit(small_dataset, build_text_encoder(config, small_dataset.catalog), config, device="cpu")
        scores.append((trm.score(histories), trm.score(histories, ["Comedy"] * len(histories))))
    assert np.array_equal(scores[0][0], scores[1][0])
    assert not np.array_equal(scores[0][1], scores[1][1])


def test_an_unseen_phrase_still_finds_its_items(small_dataset: Dataset, small_trm: TRM) -> None:
    genre = small_dataset.catalog[1].categories[0]
    args = (small_trm.encoder, small_trm.catalog, small_trm.config, small_trm.seen)
    trm = TRM(deepcopy(small_trm.network), *args)
    fit_preferences(trm, small_dataset, held_out=[genre])
    assert np.array_equal(trm.score([[1, 2]]), small_trm.score([[1, 2]]))
    histories = [example.history for example in small_dataset.examples("validation")][:50]
    bears = []
    for preference in (None, genre):
        found = trm.retrieve(histories, [preference] * len(histories), 5).item_indices.ravel()
        bears.append(np.mean([genre in small_dataset.catalog[int(item)].categories for item in found]))
    assert bears[1] > 2 * bears[0]


def test_order_of_phrases_does_not_matter(small_trm: TRM, small_dataset: Dataset) -> None:
    first, second = item_phrases(small_dataset.catalog[1])[:2]
    scores = small_trm.score(
        [[2, 3]] * 3, [f"{first}; {second}", f"{second};{first}", f"{first}; {second}; "]
    )
    np.testing.assert_allclose(scores[1:, 1:], np.repeat(scores[:1, 1:], 2, axis=0), atol=1e-4)


def test_a_lost_branch_is_named(
    small_dataset: Dataset, small_config: TRMConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.trm.steering.LEARNING_RATE", 1e30)
    config = small_config.model_copy(update={"epochs": 1})
    with pytest.raises(TrainingError, match=r"became nan; leave it untrained with trm\.preference_steps = 0"):
        fit(small_dataset, build_text_encoder(config, small_dataset.catalog), config, device="cpu")


def test_training_changes_no_global_state(small_dataset: Dataset, small_config: TRMConfig) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    config = small_config.model_copy(update={"epochs": 1, "preference_steps": 5})
    fit(small_dataset, build_text_encoder(config, small_dataset.catalog), config, device="cpu")
    assert torch.equal(torch.rand(3), expected)
