"""Lists made from the pool: by likelihood, or by constrained decoding; one token a title or many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from small_world import build_catalog, build_codec, build_dataset, explore, final_list, letters, settings
from transformers import Qwen2ForCausalLM

from deeprec.config import InferenceConfig, PolicyConfig
from deeprec.policy.tiny import build_tiny
from deeprec.rollout.codec import Codec, TokenizerCodec
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.fill_in import merge_rankings
from deeprec.rollout.lists import ListWriter
from deeprec.rollout.recommender import DeepRecRecommender
from deeprec.rollout.runner import Environment
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import ItemKNN
from deeprec.types import Example

DATASET = build_dataset()
CATALOG = build_catalog()
POOL = (1, 2, 3, 10, 6)  # Alien, Aliens, Alien 3: each begins like the one before


CODECS = {"one token a title": build_codec, "one token a byte": letters}


@pytest.fixture(params=CODECS, ids=list(CODECS))
def writer(request: pytest.FixtureRequest) -> ListWriter:
    codec = CODECS[request.param]()
    return ListWriter(random_model(codec), codec, CATALOG)


def random_model(codec: TokenizerCodec) -> Qwen2ForCausalLM:
    model = build_tiny(PolicyConfig(width=32, heads=2, key_value_heads=1, inner=64), codec.tokenizer, 3)
    # Far from uniform, so that orders are clear.
    model.get_input_embeddings().weight.data *= 6
    return model


def contexts(codec: Codec, *texts: str) -> list[tuple[int, ...]]:
    return [tuple(codec.encode(f"{text}{TAGS.begin_list}")) for text in texts]


def log_probability(writer: ListWriter, context: Sequence[int], text: str) -> float:
    """Of the text's tokens one after the other, each from a pass of its own."""
    ids, total = list(context), 0.0
    for token in writer._codec.encode(text):
        with torch.no_grad():
            logits = writer._likelihoods.model(input_ids=torch.tensor([ids])).logits[0, -1]
        total += float(torch.log_softmax(logits.double(), dim=-1)[token])
        ids.append(token)
    return total


def test_scores_are_the_likelihood_of_each_title(writer: ListWriter) -> None:
    given = contexts(writer._codec, "History", "Something longer: a b c d")
    found = writer.scores(given, [POOL, (10, 1)])
    assert [len(scores) for scores in found] == [5, 2]
    for context, pool, scores in zip(given, [POOL, (10, 1)], found, strict=True):
        start = log_probability(writer, context, "\n1. ")
        alone = [log_probability(writer, context, f"\n1. {CATALOG[item].label}") - start for item in pool]
        ended = [log_probability(writer, context, f"\n1. {CATALOG[item].label}\n") - start for item in pool]
        # Up to what all titles share, the two differ by a constant.
        fits = [np.ptp(scores - np.array(expected)) < 1e-3 for expected in (alone, ended)]
        assert any(fits)
        if len(writer._codec.encode("Alien")) > 1 and pool == POOL:
            assert fits[1], "where a title begins another one, its end must count"


def test_scores_do_not_depend_on_the_others(writer: ListWriter) -> None:
    given = contexts(writer._codec, "History", "Something longer: a b c d", "x")
    together = writer.scores(given, [POOL, POOL[::-1], POOL])
    for place, context in enumerate(given):
        alone = writer.scores([context], [POOL[::-1] if place == 1 else POOL])[0]
        np.testing.assert_allclose(together[place], alone, atol=1e-4)
    np.testing.assert_allclose(together[1][::-1], writer.scores([given[1]], [POOL])[0], atol=1e-4)


def test_writing_takes_the_likeliest_way_through_the_pool(writer: ListWriter) -> None:
    given = contexts(writer._codec, "History", "Something longer: a b c d")
    lists = writer.write(given, [POOL, (10, 1)], 3)
    assert [len(items) for items in lists] == [3, 2]  # a pool that is used up ends the list
    for items, pool in zip(lists, [POOL, (10, 1)], strict=True):
        assert len(set(items)) == len(items)
        assert set(items) <= set(pool)
    context, left = given[0], list(POOL)
    for line, item in enumerate(lists[0], 1):
        assert greedy_by_hand(writer, context, left, line) == item
        context += tuple(writer._codec.encode(f"\n{line}. {CATALOG[item].label}"))
        left.remove(item)


def greedy_by_hand(writer: ListWriter, context: tuple[int, ...], left: list[int], line: int) -> int:
    codec = writer._codec
    texts = {item: f"\n{line}. {CATALOG[item].label}\n" for item in left}
    ids = list(context)
    while len(texts) > 1:
        done = codec.decode(ids[len(context) :])
        with torch.no_grad():
            logits = writer._likelihoods.model(input_ids=torch.tensor([ids])).logits[0, -1]
        nexts = {}
        for item, text in texts.items():
            rest = codec.encode(f"{text}{line + 1}. ")[len(ids) - len(context) :]
            assert codec.decode(ids[len(context) :] + rest).startswith(done)
            nexts[item] = rest[0]
        best = max(set(nexts.values()), key=lambda token: float(logits[token]))
        texts = {item: text for item, text in texts.items() if nexts[item] == best}
        ids.append(best)
    return next(iter(texts))


def test_rollouts_are_merged_by_reciprocal_rank() -> None:
    assert merge_rankings([(1, 2, 3), (1, 3, 2)]) == (1, 2, 3)
    assert merge_rankings([]) == ()


def test_several_rollouts_give_one_answer() -> None:
    texts = [(explore(), final_list(titles)) for titles in (("Heat", "Dune", "Up"), ("Dune", "Up", "Heat"))]
    texts.append((explore(), final_list(("Up", "Dune", "Heat"), thought="")))  # not valid: has no vote
    codec = build_codec()
    engine = ScriptedEngine(codec, dict(enumerate(texts * 2)))
    base = Environment(DATASET, ItemKNN.fit(DATASET), engine, codec, settings())
    recommender = DeepRecRecommender("deeprec", base, inference=InferenceConfig(rollouts=3))
    found = recommender.recommend([Example("u", (1, 4)), Example("v", (1,))], 3)
    assert [answer.ranking for answer in found] == [(6, 10, 23)] * 2
    assert all(answer.trajectory is not None and answer.trajectory.is_valid for answer in found)
