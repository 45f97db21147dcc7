"""Exclusions and named titles, on top of any retriever; without them nothing is touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_world import build_dataset

from deeprec.config import TRMConfig
from deeprec.data.catalog import Catalog
from deeprec.trm.baselines import ItemKNN
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.mentions import LOWERED, Bearers, MentioningTRM, Mentions, Titles, with_phrases
from deeprec.trm.ranking import MAX_PREFERENCE
from deeprec.trm.text_steered import TextSteered

DATASET = build_dataset()
HISTORIES = [(1, 3, 5), (2, 4), ()]


@pytest.fixture(scope="module")
def trm(tmp_path_factory: pytest.TempPathFactory) -> MentioningTRM:
    config = TRMConfig(text_dim=16)
    encoder = build_text_encoder(config, DATASET.catalog, 0, tmp_path_factory.mktemp("cache"))
    return MentioningTRM(TextSteered(ItemKNN.fit(DATASET), encoder, DATASET.catalog), DATASET.catalog)


@pytest.mark.parametrize(
    "preferences", [None, [None] * 3, ["Action", None, "Comedy; 1990s"], ["newer", "", "likely"]]
)
def test_without_any_the_answer_is_the_retriever_s_own(
    trm: MentioningTRM, preferences: list[str | None] | None
) -> None:
    assert np.array_equal(trm.score(HISTORIES, preferences), trm.retriever.score(HISTORIES, preferences))
    own = trm.retrieve(HISTORIES, preferences, 5, HISTORIES)
    inner = trm.retriever.retrieve(HISTORIES, preferences, 5, HISTORIES)
    assert np.array_equal(own.item_indices, inner.item_indices)
    assert np.array_equal(own.scores, inner.scores)


def test_an_exclusion_lowers_all_that_bear_it_and_nothing_else(trm: MentioningTRM) -> None:
    plain, moved = trm.score(HISTORIES, ["Action"] * 3), trm.score(HISTORIES, ["Action; not comedy"] * 3)
    bad = trm.bearers.of("Comedy")
    assert np.allclose(moved[:, bad], plain[:, bad] - LOWERED)
    others = np.setdiff1d(np.arange(1, trm.n_items + 1), bad)
    assert np.array_equal(moved[:, others], plain[:, others])
    listed = trm.retrieve(HISTORIES, ["Action; not comedy"] * 3, 10, HISTORIES).item_indices
    assert not np.isin(listed, bad).any()


def test_others_in_the_batch_are_not_touched(trm: MentioningTRM) -> None:
    alone = trm.retrieve(HISTORIES[1:2], ["Drama"], 5, HISTORIES[1:2])
    beside = trm.retrieve(HISTORIES, ["not Action", "Drama", "like Heat"], 5, HISTORIES)
    assert np.array_equal(beside.item_indices[1], alone.item_indices[0])
    assert np.array_equal(beside.scores[1], alone.scores[0])


def test_everything_excluded_still_gives_a_whole_list(trm: MentioningTRM) -> None:
    found = trm.retrieve(HISTORIES, ["not Action; not Comedy; not Drama; not Crime"] * 3, 20)
    assert found.item_indices.shape == (3, 20)
    assert (found.item_indices > 0).all()


def test_a_title_pulls_what_is_like_it(trm: MentioningTRM) -> None:
    item = DATASET.catalog.resolve("Heat")
    assert item is not None
    vectors, texts = trm.item_vectors(), trm.text_vectors()
    added = trm.score(HISTORIES, ["like heat"] * 3)[:, 1:] - trm.score(HISTORIES, None)[:, 1:]
    expected = trm.pulls[1] * texts @ texts[item]
    if vectors is not None:
        expected = expected + trm.pulls[0] * vectors @ vectors[item]
    assert np.allclose(added, np.tile(expected[1:], (3, 1)), atol=1e-5)
    assert added[0].argmax() + 1 == item


def test_newer_is_later_than_the_title(trm: MentioningTRM) -> None:
    listed = trm.retrieve(HISTORIES, ["like Heat; newer", "like Heat; older", "newer"], 8).item_indices
    year = next(item.year for item in DATASET.catalog.items if item.label == "Heat")
    years = [[DATASET.catalog[int(item)].year for item in row] for row in listed]
    assert year is not None
    assert all(one is not None and one > year for one in years[0])
    assert all(one is not None and one < year for one in years[1])


def test_words_that_nobody_bears_lower_what_they_would_raise(trm: MentioningTRM) -> None:
    plain, raised, lowered = (
        trm.score(HISTORIES, asked)[:, 1:] for asked in (None, ["Brazil"] * 3, ["not Brazil"] * 3)
    )
    assert np.allclose(lowered - plain, plain - raised, atol=1e-5)
    assert not np.allclose(lowered, plain)


@pytest.mark.parametrize(
    ("preference", "parsed"),
    [
        ("Comedy; not Musical; 1990s", Mentions("Comedy; 1990s", ("Musical",))),
        ("NOT action", Mentions(None, ("action",))),
        ("not", Mentions("not")),
        ("like No Such Title", Mentions("like No Such Title")),
        ("like alien 3; older", Mentions(None, (), (3,), older=True)),
        ("older", Mentions("older")),
    ],
)
def test_a_preference_is_taken_apart(trm: MentioningTRM, preference: str, parsed: Mentions) -> None:
    assert trm.parse(preference) == parsed


def test_a_category_may_begin_with_not() -> None:
    catalog = Catalog(
        (replace(DATASET.catalog[1], categories=("Not Rated", "Drama")), *DATASET.catalog.items[1:])
    )
    bearers = Bearers(catalog)
    assert bearers.exclusions(["not rated; not Comedy", None, "Drama; not comedy; not"]) == [
        "not Comedy",
        "not comedy",
    ]
    assert bearers.left_out(["not rated"]) == frozenset()
    assert bearers.left_out(["not not rated", "1990s"]) == {1}
    assert bearers.left_out(["not Comedy"]) == set(bearers.of("comedy").tolist())
    assert with_phrases("Drama", ["not Comedy"] * MAX_PREFERENCE) == "Drama; not Comedy"
    assert with_phrases("D" * MAX_PREFERENCE, ["not Comedy"]) == "D" * MAX_PREFERENCE


def test_titles_are_found_as_people_write_them() -> None:
    catalog = DATASET.catalog
    renamed = Catalog(
        (replace(catalog[1], title="Matrix, The (1970)", label="Matrix, The (1970)"), *catalog.items[1:])
    )
    titles = Titles(renamed)
    for written in ("Matrix, The (1970)", "the matrix", "THE  Matrix", "matrix, the"):
        assert titles.find(written) == (1,)
    assert titles.find("matri") == ()
