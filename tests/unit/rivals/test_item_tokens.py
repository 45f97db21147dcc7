"""Names, quantisation, the trie, and the search over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_world import TITLES, build_catalog, build_dataset

from deeprec.errors import ConfigError, DataError, PolicyError, RetrievalError
from deeprec.next_item.model import ItemModel, build_model
from deeprec.next_item.recommender import ItemTokensRecommender
from deeprec.next_item.training import target_nats
from deeprec.next_item.trie import Remaining, Trie
from deeprec.next_item.vocabulary import ItemNames, code_names, title_names
from deeprec.rivals.item_tokens.kmeans import Quantised, residual_kmeans
from deeprec.rivals.item_tokens.quantisation import semantic_ids
from deeprec.rivals.item_tokens.rqvae import fit_rqvae
from deeprec.settings.rivals import ItemTokensConfig
from deeprec.types import Example

DATASET = build_dataset()
N = DATASET.catalog.n_items
SMALL = ItemTokensConfig(width=16, history=6, codebook=4, levels=2)


def clustered(rows: int = 60, width: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, width))
    return (centres[np.arange(rows) % 5] + 0.3 * rng.normal(size=(rows, width))).astype(np.float32)


def padded(vectors: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors])


def small_names(kind: str) -> ItemNames:
    if kind == "titles":
        return title_names(DATASET.catalog)
    return code_names(semantic_ids(padded(clustered(N)), SMALL, 0)[0])


def loud_model(names: ItemNames) -> ItemModel:
    """Untrained, with weights large enough that no two items are near a tie."""
    model = build_model(SMALL, names, DATASET.catalog, 0)
    with torch.no_grad():
        for weight in model.model.parameters():
            if weight.dim() > 1:
                weight.mul_(3)
    return model


def recommender(kind: str, beams: int = 20, allow_repeats: bool = False) -> ItemTokensRecommender:
    names = small_names(kind)
    data = build_dataset(allow_repeats)
    return ItemTokensRecommender(
        "t", loud_model(names), Trie(names.codes), data, history=SMALL.history, beams=beams
    )


@torch.no_grad()
def brute_force(model: ItemModel, history: tuple[int, ...]) -> np.ndarray:
    """Log-probability (N,) of every item's whole sequence, each read anew."""
    prefix = model.prefix(history[-SMALL.history :])
    scores = np.zeros(N)
    for item in range(1, N + 1):
        tokens = torch.tensor([prefix + model.item_ids[item].tolist()])
        states = model.states(tokens)[0]
        for level, code in enumerate(model.names.codes[item].tolist()):
            scores[item - 1] += float(model.log_probs(states[len(prefix) - 1 + level], level)[code])
    return scores


@pytest.mark.parametrize("kind", ["titles", "codes"])
def test_what_validation_targets_cost_is_their_log_probability(kind: str) -> None:
    """Histories of several lengths, one of them longer than what is read."""
    model = loud_model(small_names(kind))
    histories = [(1,), (2, 5, 3), tuple(range(1, N)), (4, 2)]
    examples = [Example("x", history, target=place % N + 1) for place, history in enumerate(histories)]
    wanted = [-brute_force(model, e.history)[e.target - 1] for e in examples]
    assert target_nats(model, examples, SMALL.history) == pytest.approx(np.mean(wanted), rel=1e-5)


@pytest.mark.parametrize("fit", [residual_kmeans, fit_rqvae], ids=["kmeans", "rq-vae"])
def test_each_level_leaves_less(
    fit: Callable[[np.ndarray, int, int, int], Quantised], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.rivals.item_tokens.rqvae.STEPS", 300)  # sixty vectors are learned sooner
    found = fit(clustered(), 3, 8, 0)
    assert found.codes.shape == (60, 3)
    assert list(found.errors) == sorted(found.errors, reverse=True)
    assert found.errors[-1] < 0.3 * found.errors[0]


def test_kmeans_codes_add_up_to_the_vectors() -> None:
    vectors = clustered()
    found = residual_kmeans(vectors, 3, 8, 0)
    made = sum(book[column] for book, column in zip(found.codebooks, found.codes.T, strict=True))
    assert np.isclose(((vectors - made) ** 2).sum(axis=1).mean(), found.errors[-1], atol=1e-5)


@pytest.mark.parametrize("quantiser", ["kmeans", "rq-vae"])
def test_ids_are_unique_even_without_text(quantiser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.rivals.item_tokens.rqvae.STEPS", 30)
    vectors = padded(clustered(40))
    vectors[5:20] = 0  # no text at all
    config = SMALL.model_copy(update={"quantiser": quantiser, "codebook": 8})
    codes, facts = semantic_ids(vectors, config, 0)
    assert len({tuple(row) for row in codes[1:].tolist()}) == 40
    assert {tuple(row) for row in codes[5:20, :2].tolist()} == {tuple(codes[5, :2].tolist())}
    assert facts["largest_collision"] >= 15
    assert facts["collisions"] >= 14
    again, _ = semantic_ids(vectors, config, 0)
    assert (codes == again).all()


def test_fewer_different_vectors_than_codes() -> None:
    codes, facts = semantic_ids(padded(np.eye(3, dtype=np.float32)[np.arange(12) % 3]), SMALL, 0)
    assert facts["codes_used"] == [3, 1]
    assert sorted(codes[1:, 2].tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_codebook_larger_than_the_catalogue() -> None:
    config = ItemTokensConfig(codebook=64)
    with pytest.raises(ConfigError, match=r"codebook = 64: the catalogue holds 12 items; lower it"):
        semantic_ids(padded(clustered(12)), config, 0)


def test_the_trie_holds_the_catalogue_and_nothing_else() -> None:
    codes = small_names("codes").codes
    trie = Trie(codes)
    paths = [()]
    nodes = np.zeros(1, dtype=np.int64)
    for depth, level in enumerate(trie.levels):
        row, nodes = trie.children(nodes, depth)
        paths = [(*paths[parent], int(level.code[node])) for parent, node in zip(row, nodes, strict=True)]
    assert sorted(paths) == sorted(tuple(row) for row in codes[1:].tolist())
    items = trie.levels[-1].first_item[nodes]
    assert [tuple(codes[item].tolist()) for item in items] == paths


def test_twins_are_refused() -> None:
    with pytest.raises(DataError, match=r"items 1 and 3 have the same codes"):
        Trie(np.array([[0, 0], [1, 1], [1, 0], [1, 1]]))


def test_a_node_is_closed_once_all_below_it_is_excluded() -> None:
    trie = Trie(np.array([[0, 0], [0, 0], [0, 1], [1, 0]]))
    remaining = Remaining(trie, [[1, 2], [1, 1], []])
    user, node = np.repeat([0, 1, 2], 2), np.tile([0, 1], 3)
    assert remaining.left(user, node, 0).tolist() == [False, True, True, True, True, True]


@pytest.mark.parametrize("kind", ["titles", "codes"])
def test_a_beam_as_wide_as_the_catalogue_is_brute_force(kind: str) -> None:
    for allow_repeats in (False, True):
        full = recommender(kind, beams=N, allow_repeats=allow_repeats)
        examples = DATASET.examples("test")
        for example, pairs in zip(examples, full.scored(examples, 1), strict=True):
            scores = brute_force(full.model, example.history)
            allowed = set(range(1, N + 1)) - set(full.dataset.exclusions(example))
            expected = sorted(allowed, key=lambda item: (-scores[item - 1], item))
            assert [item for item, _ in pairs] == expected
            assert np.allclose([score for _, score in pairs], scores[np.array(expected) - 1], atol=1e-4)


def test_scores_are_a_distribution_over_titles() -> None:
    full = recommender("titles", beams=N, allow_repeats=True)
    (pairs,) = full.scored(DATASET.examples("test")[:1], N)
    assert np.isclose(np.exp([score for _, score in pairs]).sum(), 1, atol=1e-5)


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_narrow_beams_find_new_items_of_the_catalogue(beams: int) -> None:
    """Every beam ends at an item, though most of the catalogue is excluded."""
    narrow = recommender("codes", beams=beams)
    for left in (5, 12, 20):
        known = Example("u", tuple(range(1, N + 1 - left)))
        (pairs,) = narrow.scored([known], beams)
        assert len(pairs) == beams
        assert {item for item, _ in pairs} <= set(range(N + 1 - left, N + 1))
        exact = dict(recommender("codes", beams=N).scored([known], 1)[0])
        assert np.allclose([score for _, score in pairs], [exact[item] for item, _ in pairs], atol=1e-4)


def test_ties_break_by_item_index() -> None:
    names = small_names("codes")
    model = build_model(SMALL, names, DATASET.catalog, 0)
    with torch.no_grad():
        model.model.get_output_embeddings().weight.zero_()  # every item of a prefix is as likely
    even = ItemTokensRecommender("t", model, Trie(names.codes), DATASET, history=6, beams=N)
    for pairs in even.scored(DATASET.examples("test"), 1):
        assert [item for item, _ in pairs] == sorted(item for item, _ in pairs)


@pytest.mark.parametrize("kind", ["titles", "codes"])
def test_neither_batch_nor_order_changes_a_score(kind: str) -> None:
    """To the last bit: shapes of the computation depend on the user alone."""
    examples = [*DATASET.examples("test"), *DATASET.examples("validation"), *DATASET.examples("rl")]
    examples.append(Example("nobody", ()))
    ranked = recommender(kind, beams=5)
    together = ranked.scored(examples, 3)
    order = np.random.default_rng(0).permutation(len(examples)).tolist()
    assert ranked.scored([examples[i] for i in order], 3) == [together[i] for i in order]
    assert [ranked.scored([example], 3)[0] for example in examples] == together


@pytest.mark.parametrize("kind", ["titles", "codes"])
def test_who_knows_nearly_everything_gets_what_is_left(kind: str) -> None:
    few, example = DATASET.examples("test")[:2]
    ranked = recommender(kind)
    expected = [set(range(1, N + 1)) - set(few.history), {N}, set()]
    heavy = [
        replace(example, history=tuple(range(1, last)), ratings=(), timestamps=()) for last in (N, N + 1)
    ]
    found = [answer.ranking for answer in ranked.recommend([few, *heavy], N)]
    assert [len(ranking) for ranking in found] == [len(left) for left in expected]
    assert [set(ranking) for ranking in found] == expected
    with pytest.raises(RetrievalError, match=f"k = {N + 1}: choose from 1 to the {N} items"):
        ranked.recommend([few], N + 1)


def test_what_is_shown_is_what_is_read() -> None:
    for kind in ("titles", "codes"):
        shown = recommender(kind)
        example = DATASET.examples("test")[0]
        text = shown.explain(example)
        read, written = text.split("Writes")
        names = shown.model.names
        tokens = "<|history|>" + "".join(names.text(item) for item in example.history[-SMALL.history :])
        assert shown.model.tokenizer.encode(tokens, add_special_tokens=False) == shown.model.prefix(
            example.history[-SMALL.history :]
        )
        for item in example.history[-SMALL.history :]:
            assert names.text(item) in read
            assert DATASET.catalog[item].label in read
        best = shown.recommend([example], 1)[0].ranking[0]
        assert names.text(best) in written.splitlines()[1]
        assert len(written.splitlines()) == 1 + len(shown.scored([example], 1)[0])


def test_titles_that_look_like_tokens_stay_apart() -> None:
    hostile = ["<|history|>", "a0", "<|a0|>", "item:a0", "|", "history", "a0|><|item:a0", *TITLES[:5]]
    catalog = build_catalog(hostile)
    model = build_model(SMALL, title_names(catalog), catalog, 0)
    text = "".join(model.names.text(item.item_index) for item in catalog.items)
    ids = model.tokenizer.encode(text, add_special_tokens=False)
    assert ids == model.item_ids[1:, 0].tolist()
    assert len(set(ids)) == len(hostile)


@pytest.mark.parametrize(
    ("changes", "message"), [({"width": 15}, "even width a head"), ({"width": 18}, "even")]
)
def test_sizes_that_do_not_divide(changes: dict[str, int], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        build_model(SMALL.model_copy(update=changes), small_names("titles"), DATASET.catalog, 0)
