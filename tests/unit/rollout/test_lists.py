"""Lists made from the pool: by likelihood, or by constrained decoding; one token a title or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_world import answer, build_catalog, build_codec, build_dataset, explore, settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from deeprec.config import InferenceConfig, PolicyConfig, Ranking
from deeprec.errors import PolicyError
from deeprec.policy.tiny import build_tiny
from deeprec.rollout.codec import Codec, TokenizerCodec
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.fill_in import merge_rankings
from deeprec.rollout.lists import ListWriter
from deeprec.rollout.recommender import DeepRecRecommender
from deeprec.rollout.reranked import RerankedTRM
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import ItemKNN
from deeprec.types import Example, StopReason, Trajectory

DATASET = build_dataset()
CATALOG = build_catalog()
TESTED = DATASET.examples("test")
CLOSING = f"Now rank.{TAGS.end_think}\n{TAGS.begin_list}"
POOL = (1, 2, 3, 10, 6)  # Alien, Aliens, Alien 3: each begins like the one before


def letters() -> TokenizerCodec:
    """One token a byte: a title is many tokens, and "Alien" is the beginning of "Aliens"."""
    vocabulary = {letter: number for number, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(vocab={**vocabulary, "<eos>": 256}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return TokenizerCodec(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>"))


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
            logits = writer._model(input_ids=torch.tensor([ids])).logits[0, -1]
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


def test_next_titles_are_scored_right_behind_the_bare_history(writer: ListWriter) -> None:
    histories = [(1, 5, 7), (), (2,)]
    pools = [POOL, (10, 1), ()]
    found = writer.next_titles(histories, pools)
    assert [len(scores) for scores in found] == [5, 2, 0]
    single = len(writer._codec.encode("Alien")) == 1
    for history, pool, scores in zip(histories, pools, found, strict=True):
        labels = [CATALOG[item].label for item in history]
        if single:
            ids = [
                writer._codec.eos_id,
                *(token for label in labels for token in writer._codec.encode(label)),
            ]
        else:
            ids = writer._codec.encode("\n" + "".join(f"{label}\n" for label in labels))
        end = "" if single else "\n"
        expected = [log_probability(writer, ids, f"{CATALOG[item].label}{end}") for item in pool]
        np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_reranking_multiplies_the_probabilities_of_the_trm_and_of_the_policy() -> None:
    """An item's share in the list that it is likeliest in, times the policy's weighted likelihood."""
    texts = (explore("Action"), explore("Comedy"), CLOSING)
    base = environment(texts)
    assert base.lists is not None
    orders = {}
    for weight in (0.0, 1.0, 50.0):
        config = settings(answer="reranked", reranker_weight=weight, reranker_history=2)
        base.engine._said = dict.fromkeys(base.engine._said, 0)
        for example, trajectory in zip(
            TESTED, run_episodes(TESTED, replace(base, config=config), greedy=False), strict=True
        ):
            assert trajectory.is_valid
            shares: dict[int, float] = {}
            for turn in trajectory.turns:
                total = np.exp(turn.scores).sum()
                for item, score in zip(turn.retrieved, turn.scores, strict=True):
                    shares[item] = max(shares.get(item, 0.0), float(np.exp(score) / total))
            likelihood = base.lists.next_titles([example.history[-2:]], [trajectory.pool])[0]
            values = {
                item: np.log(shares[item]) + weight * likely
                for item, likely in zip(trajectory.pool, likelihood, strict=True)
            }
            ranked = [values[item] for item in trajectory.ranking]
            assert ranked == sorted(ranked, reverse=True)
            assert min(ranked) >= max(
                (values[i] for i in set(values) - set(trajectory.ranking)), default=-9e9
            )
            sampled = [t for t, m in zip(trajectory.response_ids, trajectory.loss_mask, strict=True) if m]
            assert build_codec().decode(sampled).endswith(TAGS.begin_list)
            orders[weight, example.user_id] = trajectory.ranking
    users = [example.user_id for example in TESTED]
    assert [orders[0.0, user] for user in users] != [orders[50.0, user] for user in users]


def test_the_plain_list_is_reranked_by_the_same_rule() -> None:
    """What a policy's single open wish would be answered with."""
    where = environment((explore("-no wish-"), CLOSING))
    assert where.lists is not None
    config = settings(answer="reranked", reranker_history=3)
    plain = RerankedTRM(where.retriever, where.lists, DATASET, config, "trm-reranked")
    asked = run_episodes(TESTED, replace(where, config=config), greedy=True)
    assert [found.ranking for found in plain.recommend(TESTED, 3)] == [t.ranking for t in asked]
    assert len(plain.recommend(TESTED, 9)[0].ranking) == 9  # more than rollout.retrieved


def test_reranking_needs_the_model_here() -> None:
    where = environment((CLOSING,), with_lists=False)
    with pytest.raises(PolicyError, match=r"rollout.answer = 'reranked'.*engine `local`"):
        run_episodes(TESTED, replace(where, config=settings(answer="reranked")), greedy=True)


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
            logits = writer._model(input_ids=torch.tensor([ids])).logits[0, -1]
        nexts = {}
        for item, text in texts.items():
            rest = codec.encode(f"{text}{line + 1}. ")[len(ids) - len(context) :]
            assert codec.decode(ids[len(context) :] + rest).startswith(done)
            nexts[item] = rest[0]
        best = max(set(nexts.values()), key=lambda token: float(logits[token]))
        texts = {item: text for item, text in texts.items() if nexts[item] == best}
        ids.append(best)
    return next(iter(texts))


def environment(texts: Sequence[str], *, with_lists: bool = True) -> Environment:
    codec = build_codec()
    engine = ScriptedEngine(codec, dict.fromkeys(range(len(TESTED)), texts))
    lists = ListWriter(random_model(codec), codec, CATALOG) if with_lists else None
    return Environment(DATASET, ItemKNN.fit(DATASET), engine, codec, settings(), lists=lists)


def explored(ranking: Ranking) -> list[Trajectory]:
    return run_episodes(
        TESTED, environment((explore("Action"), explore("Comedy"), CLOSING)), greedy=True, ranking=ranking
    )


@pytest.mark.parametrize("ranking", ["score", "constrained"])
def test_lists_are_always_valid_and_not_the_policys_own_words(ranking: Ranking) -> None:
    for trajectory in explored(ranking):
        assert trajectory.is_valid
        assert trajectory.stop_reason is StopReason.FINISHED
        assert len(trajectory.ranking) == len(trajectory.lines) == 3
        assert set(trajectory.ranking) <= set(trajectory.pool)
        sampled = [t for t, m in zip(trajectory.response_ids, trajectory.loss_mask, strict=True) if m]
        assert build_codec().decode(sampled).endswith(TAGS.begin_list)
        assert trajectory.response.endswith(TAGS.end_list)


def test_scoring_takes_the_likeliest_of_the_pool() -> None:
    writer = environment(()).lists
    assert writer is not None
    for trajectory in explored("score"):
        end = trajectory.response_ids.index(writer._codec.tag_ids[TAGS.begin_list]) + 1
        context = trajectory.prompt_ids + trajectory.response_ids[:end]
        values = writer.scores([context], [trajectory.pool])[0]
        best = [trajectory.pool[place] for place in np.argsort(-values, kind="stable")[:3]]
        assert list(trajectory.ranking) == best


def test_where_the_answer_is_retrieved_the_policy_only_asks() -> None:
    """In training as in use: the list is the TRM's answer to the last wish, and carries no loss."""
    base = environment((explore("Action"), explore("Comedy"), CLOSING), with_lists=False)
    asked = replace(base, config=settings(answer="retrieved"))
    for greedy in (True, False):
        base.engine._said = dict.fromkeys(base.engine._said, 0)
        for trajectory in run_episodes(TESTED, asked, greedy=greedy):
            assert trajectory.is_valid
            assert trajectory.ranking == trajectory.turns[-1].retrieved[:3]
            end = trajectory.response_ids.index(build_codec().tag_ids[TAGS.begin_list]) + 1
            assert not any(trajectory.loss_mask[end:])
            assert trajectory.loss_mask[end - 1] == 1


def test_a_list_that_opens_without_any_retrieval_is_a_failure() -> None:
    done = run_episodes(TESTED[:2], environment((CLOSING,)), greedy=True, ranking="score")
    assert all(not trajectory.is_valid and trajectory.ranking == () for trajectory in done)


def test_without_a_model_here_it_says_so() -> None:
    with pytest.raises(PolicyError, match=r"inference\.ranking = 'score' needs the policy's model"):
        run_episodes(TESTED, environment((), with_lists=False), greedy=True, ranking="score")


def test_rollouts_are_merged_by_reciprocal_rank() -> None:
    assert merge_rankings([(1, 2, 3), (1, 3, 2)]) == (1, 2, 3)
    assert merge_rankings([]) == ()


def test_several_rollouts_give_one_answer() -> None:
    texts = [(explore(), answer(titles)) for titles in (("Heat", "Dune", "Up"), ("Dune", "Up", "Heat"))]
    texts.append((explore(), answer(("Up", "Dune", "Heat"), thought="")))  # not valid: has no vote
    codec = build_codec()
    engine = ScriptedEngine(codec, dict(enumerate(texts * 2)))
    base = Environment(DATASET, ItemKNN.fit(DATASET), engine, codec, settings())
    recommender = DeepRecRecommender("deeprec", base, inference=InferenceConfig(rollouts=3))
    found = recommender.recommend([Example("u", (1, 4)), Example("v", (1,))], 3)
    assert [answer.ranking for answer in found] == [(6, 10, 23)] * 2
    assert all(answer.trajectory is not None and answer.trajectory.is_valid for answer in found)
