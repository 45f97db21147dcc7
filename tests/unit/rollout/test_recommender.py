"""DeepRec as a recommender: what a failure gives in evaluation and in serving."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_world import build_codec, build_dataset, explore, final_list, settings

from deeprec.config import TRMConfig
from deeprec.recommender import Recommendation
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.episode import Episode
from deeprec.rollout.recommender import DeepRecRecommender
from deeprec.rollout.runner import Environment
from deeprec.trm.baselines import Popularity
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.mentions import MentioningTRM
from deeprec.trm.text_steered import TextSteered
from deeprec.types import Example

DATASET = build_dataset()
TRM = Popularity.fit(DATASET)
USER = Example("u", (1, 4))  # Alien, Brazil
GOOD = (explore(), final_list(("Heat", "Dune", "Up")))
BROKEN = (explore(), final_list(("Heat", "Dune", "Up"), thought=""))


def recommend(
    *texts: str, fill_in: bool, k: int = 3, example: Example = USER, repeats: bool = False
) -> Recommendation:
    dataset = build_dataset(repeats)
    engine = ScriptedEngine(build_codec(), {0: texts})
    environment = Environment(dataset, TRM, engine, build_codec(), settings())
    return DeepRecRecommender("deeprec", environment, fill_in=fill_in).recommend([example], k)[0]


def best(k: int, *known: int) -> tuple[int, ...]:
    """The TRM's plain ranking."""
    return tuple(map(int, TRM.retrieve([()], k=k, exclude=[known]).item_indices[0]))


class TestEvaluation:
    def test_a_list(self) -> None:
        found = recommend(*GOOD, fill_in=False)
        assert (found.ranking, found.source, found.reason) == ((10, 6, 23), "deeprec", None)
        assert found.trajectory is not None
        assert found.trajectory.is_valid

    def test_a_failure_is_a_miss(self) -> None:
        found = recommend(*BROKEN, fill_in=False)
        assert (found.ranking, found.source) == ((), "deeprec")
        assert found.reason == "finished: no reasoning before the list"

    def test_an_unfinished_one_is_a_miss(self) -> None:
        found = recommend(explore(""), fill_in=False)
        assert (found.ranking, found.reason) == ((), "empty_preference")

    def test_a_short_list_stays_short(self) -> None:
        found = recommend(explore(), final_list(("Heat", "Heat", "Nowhere")), fill_in=False)
        assert (found.ranking, found.reason) == ((10,), None)

    def test_the_top_k_of_a_longer_list(self) -> None:
        assert recommend(*GOOD, fill_in=False, k=2).ranking == (10, 6)

    def test_known_items_are_left_out(self) -> None:
        texts = explore(), final_list(("Alien", "Heat", "Brazil"))
        assert recommend(*texts, fill_in=False).ranking == (10,)
        assert recommend(*texts, fill_in=False, repeats=True).ranking == (1, 10, 4)


class TestServing:
    def test_a_whole_list_needs_nothing(self) -> None:
        found = recommend(*GOOD, fill_in=True)
        assert (found.ranking, found.source, found.reason) == ((10, 6, 23), "deeprec", None)

    @pytest.mark.parametrize(
        ("texts", "reason"),
        [
            (BROKEN, "finished: no reasoning before the list"),
            ((explore(""),), "empty_preference"),
            ((explore(), "No idea.<|end_of_text|>"), "no_list: "),
        ],
    )
    def test_the_trm_answers_for_a_failure(self, texts: tuple[str, ...], reason: str) -> None:
        found = recommend(*texts, fill_in=True)
        assert (found.ranking, found.source) == (best(3, 1, 4), "trm")
        assert found.reason is not None
        assert found.reason.startswith(reason)

    def test_a_short_list_goes_on_with_the_trm(self) -> None:
        found = recommend(explore(), final_list(("Heat", "Heat", "Nowhere")), fill_in=True, k=5)
        assert found.ranking == (10, *best(4, 1, 4, 10))
        assert (found.source, found.reason) == ("deeprec", "the list holds 1 of 5 items")

    def test_a_list_without_any_usable_item_says_so(self) -> None:
        found = recommend(explore(), final_list(("Alien", "Brazil", "Nowhere")), fill_in=True)
        assert found.ranking == best(3, 1, 4)
        assert (found.source, found.reason) == ("trm", "the list holds 0 of 3 items")

    @pytest.mark.parametrize("texts", [GOOD, BROKEN])
    @pytest.mark.parametrize("k", [1, 3, 10, 28])
    def test_always_k_distinct_new_items(self, texts: tuple[str, ...], k: int) -> None:
        ranking = recommend(*texts, fill_in=True, k=k).ranking
        assert len(ranking) == len(set(ranking)) == k
        assert not set(ranking) & {1, 4}

    def test_no_more_than_is_left(self) -> None:
        assert len(recommend(*BROKEN, fill_in=True, k=30).ranking) == 28

    def test_nothing_is_left(self) -> None:
        found = recommend(*BROKEN, fill_in=True, example=Example("all", tuple(range(1, 31))))
        assert (found.ranking, found.source) == ((), "trm")

    def test_nobody_known(self) -> None:
        assert recommend(*BROKEN, fill_in=True, example=Example("new", ())).ranking == best(3)


def test_moves_can_be_watched() -> None:
    engine = ScriptedEngine(build_codec(), {0: GOOD})
    recommender = DeepRecRecommender("deeprec", Environment(DATASET, TRM, engine, build_codec(), settings()))
    turns: list[int] = []

    def watch(episode: Episode) -> None:
        turns.append(len(episode.turns))

    recommender.recommend([USER], 3, watch=watch)
    assert turns == [0, 1, 1]

    def test_the_trm_fills_in_without_what_the_policy_excluded(self, tmp_path: Path) -> None:
        encoder = build_text_encoder(TRMConfig(text_dim=16), DATASET.catalog, 0, tmp_path)
        trm = MentioningTRM(TextSteered(TRM, encoder, DATASET.catalog), DATASET.catalog)
        texts = explore("Action; not Comedy"), "No idea.<|end_of_text|>"
        environment = Environment(
            DATASET, trm, ScriptedEngine(build_codec(), {0: texts}), build_codec(), settings()
        )
        (found,) = DeepRecRecommender("deeprec", environment, fill_in=True).recommend([USER], 10)
        plain = {
            int(item) for item in trm.retrieve([USER.history], k=10, exclude=[USER.history]).item_indices[0]
        }
        bad = set(trm.bearers.of("Comedy").tolist())
        assert len(found.ranking) == 10
        assert bad & plain
        assert not bad & set(found.ranking)
