"""What every Recommender keeps to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from small_world import build_codec, build_dataset, explore, final_list, settings

from deeprec.config import PolicyConfig, TRMConfig
from deeprec.data.split import refit_data
from deeprec.policy.tiny import build_tiny
from deeprec.recommender import Recommender
from deeprec.rivals.asked import Rule, build_asker
from deeprec.rivals.factors import ALS, BPR
from deeprec.rivals.one_shot.ranker import OneShotRanking
from deeprec.rivals.one_shot.recommender import OneShotRecommender
from deeprec.rollout.engines.base import Engine, Request, Sampling, Segment
from deeprec.rollout.engines.local import LocalEngine
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.lists import ListWriter
from deeprec.rollout.masked import MaskedLists
from deeprec.rollout.protocol import render_prompt
from deeprec.rollout.recommender import DeepRecRecommender
from deeprec.rollout.reranked import RerankedTRM
from deeprec.rollout.runner import Environment
from deeprec.rollout.tags import TAGS
from deeprec.rollout.title_likelihoods import Likelihoods
from deeprec.rollout.titles import TitleTexts
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.kinds import build_retriever
from deeprec.trm.linear import EASE
from deeprec.trm.recommender import TRMRecommender

DATASET = build_dataset()
EXAMPLES = DATASET.examples("test")
BY_PROMPT = {
    render_prompt(example, DATASET.catalog, settings(prompt_fields=())): n
    for n, example in enumerate(EXAMPLES)
}


class ByUser:
    """Each user's own script, whatever the order: the prompt tells who it is."""

    context_length = 4096

    def __init__(self, opens: bool = False) -> None:
        self.opens = opens  # the list, and leaves it to be filled

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        return [self._segment(request, sampling) for request in requests]

    def _segment(self, request: Request, sampling: Sampling) -> Segment:
        text = build_codec().decode(request.context)
        prompt = text[: text.index("<think>\n") + len("<think>\n")]
        user = BY_PROMPT.get(prompt, 0)  # others say what the first one does
        said = [
            explore("Action"),
            final_list(DATASET.catalog[item].label for item in (user + 1, user + 9, user + 1)),
        ]
        if self.opens:
            said[1] = f"Now rank.{TAGS.end_think}\n{TAGS.begin_list}"
        recite = ScriptedEngine(build_codec(), {request.key: [said[len(text) > len(prompt)]]})
        return recite.generate([request], sampling)[0]

    def reseed(self, seed: int) -> None:
        """Nothing is drawn."""

    def forget(self) -> None:
        """Nothing is kept."""


def deeprec(engine: Engine, fill_in: bool, **changes: object) -> Recommender:
    config = settings(prompt_fields=(), users_per_batch=3, **changes)
    environment = Environment(DATASET, ItemKNN.fit(DATASET), engine, build_codec(), config)
    return DeepRecRecommender("deeprec", environment, fill_in=fill_in)


SIZES = PolicyConfig(width=32, heads=2, key_value_heads=1, inner=64)


def untrained() -> LocalEngine:
    return LocalEngine(build_tiny(SIZES, build_codec().tokenizer, 0), seed=0)


def one_shot(ranking: OneShotRanking, fill_in: bool) -> Recommender:
    config = settings(prompt_fields=(), users_per_batch=3)
    lists = ListWriter(build_tiny(SIZES, build_codec().tokenizer, 0), build_codec(), DATASET.catalog)
    environment = Environment(DATASET, ItemKNN.fit(DATASET), untrained(), build_codec(), config)
    return OneShotRecommender("one-shot", environment, ranking=ranking, writer=lists, fill_in=fill_in)


def reranked() -> Recommender:
    reader = Likelihoods(build_tiny(SIZES, build_codec().tokenizer, 0))
    titles = TitleTexts(build_codec(), DATASET.catalog)
    return RerankedTRM(ItemKNN.fit(DATASET), reader, titles, DATASET, settings(), "trm-reranked")


def masked(fill_in: bool) -> Recommender:
    model = build_tiny(SIZES, build_codec().tokenizer, 0)
    config = settings(prompt_fields=(), users_per_batch=3, list="masked")
    lists = MaskedLists(model, build_codec(), DATASET, ItemKNN.fit(DATASET), config, seed=0)
    where = Environment(DATASET, ItemKNN.fit(DATASET), ByUser(opens=True), build_codec(), config, lists=lists)
    return DeepRecRecommender("deeprec", where, fill_in=fill_in)


def asked() -> Recommender:
    config = TRMConfig(kind="item-knn", text_dim=8)
    trm = build_retriever(DATASET, config, build_text_encoder(config, DATASET.catalog))
    return TRMRecommender(trm, DATASET, ask=build_asker(Rule(2, 1, "user", 0.0), DATASET))


MAKERS: dict[str, Callable[[], Recommender]] = {
    "popularity": lambda: TRMRecommender(Popularity.fit(DATASET), DATASET, "popularity"),
    "knn": lambda: TRMRecommender(ItemKNN.fit(DATASET), DATASET),
    "ease": lambda: TRMRecommender(EASE.fit(refit_data(DATASET), 10.0, 0.8), DATASET),
    "als": lambda: TRMRecommender(ALS.fit(refit_data(DATASET), 4, 0.1, 5.0, 5, 0, 0.8), DATASET),
    "bpr": lambda: BPR.fit(refit_data(DATASET), 4, 0.05, 0.01, 20, 0),
    "asked": asked,
    "reranked": reranked,
    "deeprec": lambda: deeprec(ByUser(), fill_in=False),
    "deeprec, masked": lambda: masked(fill_in=False),
    "deeprec, filled in": lambda: deeprec(ByUser(), fill_in=True),
    "deeprec, untrained and filled in": lambda: deeprec(untrained(), fill_in=True, segment_tokens=8),
    "one list, one prompt": lambda: one_shot("constrained", fill_in=False),
    "one list, untrained and filled in": lambda: one_shot("generate", fill_in=True),
}
ALWAYS_K = [name for name in MAKERS if name not in ("deeprec", "deeprec, masked", "one list, one prompt")]


@pytest.fixture(params=list(MAKERS))
def recommender(request: pytest.FixtureRequest) -> Recommender:
    return MAKERS[request.param]()


def rankings(recommender: Recommender, examples: Sequence = EXAMPLES, k: int = 3) -> list[tuple[int, ...]]:
    return [found.ranking for found in recommender.recommend(examples, k)]


def test_distinct_new_items_of_the_catalogue(recommender: Recommender) -> None:
    found = rankings(recommender)
    assert len(found) == len(EXAMPLES)
    for example, ranking in zip(EXAMPLES, found, strict=True):
        assert len(ranking) == len(set(ranking)) <= 3
        assert set(ranking) <= set(range(1, 31)) - set(example.history)
        assert all(type(item) is int for item in ranking)


def test_it_says_who_ranked(recommender: Recommender) -> None:
    assert recommender.name
    assert {found.source for found in recommender.recommend(EXAMPLES, 3)} <= {recommender.name, "trm"}


def test_the_target_is_not_looked_at(recommender: Recommender) -> None:
    others = [replace(example, target=example.target % 30 + 1) for example in EXAMPLES]
    without = [replace(example, target=0) for example in EXAMPLES]
    assert rankings(recommender) == rankings(recommender, others) == rankings(recommender, without)


def test_the_order_of_users_changes_nothing(recommender: Recommender) -> None:
    order = [5, 2, 7, 0, 1, 6, 4, 3]
    found = rankings(recommender)
    assert rankings(recommender, [EXAMPLES[i] for i in order]) == [found[i] for i in order]
    assert [rankings(recommender, [example])[0] for example in EXAMPLES] == found


def test_it_is_repeatable(recommender: Recommender) -> None:
    assert rankings(recommender) == rankings(recommender)


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("unknown", [2, 0])
def test_who_knows_nearly_everything_gets_what_is_left_and_others_all_of_theirs(
    name: str, unknown: int
) -> None:
    heavy = replace(EXAMPLES[3], history=tuple(range(1, 31 - unknown)), ratings=(), timestamps=())
    recommender = MAKERS[name]()
    expected = rankings(recommender)
    found = rankings(recommender, [*EXAMPLES[:3], heavy, *EXAMPLES[4:]])
    assert set(found[3]) <= set(range(31 - unknown, 31))
    if name in ALWAYS_K:
        assert len(found[3]) == unknown
    assert found[:3] + found[4:] == expected[:3] + expected[4:]


def test_nobody_gets_nothing(recommender: Recommender) -> None:
    assert recommender.recommend([], 3) == []


@pytest.mark.parametrize("name", ALWAYS_K)
@pytest.mark.parametrize("k", [1, 3, 12])
def test_exactly_k(name: str, k: int) -> None:
    assert [len(ranking) for ranking in rankings(MAKERS[name](), k=k)] == [k] * len(EXAMPLES)


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_shorter_list_is_the_head_of_a_longer(name: str) -> None:
    recommender = MAKERS[name]()
    assert [ranking[:2] for ranking in rankings(recommender)] == rankings(recommender, k=2)


def test_the_scripted_users_are_told_apart() -> None:
    """Without this the tests above would pass on answers that ignore the user."""
    found = MAKERS["deeprec"]().recommend(EXAMPLES, 3)
    assert all(one.trajectory is not None and one.trajectory.is_valid for one in found)
    assert len({one.ranking for one in found}) == len(EXAMPLES)
