"""Lists that the policy draws under a mask, with the TRM as prior; one token a title or many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_world import CATEGORIES, build_catalog, build_codec, build_dataset, explore, letters, settings
from transformers import Qwen2ForCausalLM

from deeprec.config import PolicyConfig, TRMConfig
from deeprec.errors import PolicyError
from deeprec.policy.tiny import build_tiny
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.environment import Environment
from deeprec.rollout.list_makers import RetrievedLists
from deeprec.rollout.list_prior import ListPrior, set_prior
from deeprec.rollout.masked import MaskedLists
from deeprec.rollout.runner import run_episodes
from deeprec.rollout.tags import TAGS
from deeprec.rollout.titles import TitleTexts
from deeprec.trm.base import Retriever
from deeprec.trm.baselines import ItemKNN
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.mentions import MentioningTRM
from deeprec.trm.text_steered import TextSteered
from deeprec.types import StopReason, Trajectory

DATASET = build_dataset()
CATALOG = build_catalog()
TESTED = DATASET.examples("test")
CLOSING = f"Now rank.{TAGS.end_think}\n{TAGS.begin_list}"
TEXTS = (explore("Action"), explore("Comedy"), CLOSING)
TRM = ItemKNN.fit(DATASET)


CODECS: dict[str, Callable[[], TokenizerCodec]] = {
    "one token a title": build_codec,
    "one token a byte": letters,
}


@pytest.fixture(params=CODECS, ids=list(CODECS))
def codec(request: pytest.FixtureRequest) -> TokenizerCodec:
    return CODECS[request.param]()


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> MentioningTRM:
    """A TRM that answers preferences."""
    encoder = build_text_encoder(TRMConfig(text_dim=16), CATALOG, 0, tmp_path_factory.mktemp("cache"))
    return MentioningTRM(TextSteered(TRM, encoder, CATALOG), CATALOG)


def random_model(codec: TokenizerCodec) -> Qwen2ForCausalLM:
    model = build_tiny(PolicyConfig(width=32, heads=2, key_value_heads=1, inner=64), codec.tokenizer, 3)
    model.get_input_embeddings().weight.data *= 6  # far from uniform, so that orders are clear
    return model


def environment(
    codec: TokenizerCodec,
    model: Qwen2ForCausalLM,
    texts: tuple[str, ...] = TEXTS,
    drawn: int = 1,
    trm: Retriever = TRM,
) -> Environment:
    config = settings(list="masked", list_history=3, response_tokens=2000)
    engine = ScriptedEngine(codec, dict.fromkeys(range(len(TESTED)), texts))
    lists = MaskedLists(model, codec, DATASET, trm, config, seed=0, drawn=drawn)
    return Environment(DATASET, trm, engine, codec, config, lists=lists)


def title_log_probability(
    model: Qwen2ForCausalLM, codec: TokenizerCodec, found: Trajectory, item: int
) -> float:
    """Of a title behind all that was read before the list, token by token, in passes of its own."""
    assert found.draw is not None
    ids, total = list(found.draw.context), 0.0
    for token in TitleTexts(codec, CATALOG).title(item):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        total += float(torch.log_softmax(logits.double(), dim=-1)[token])
        ids.append(token)
    return total


def test_a_list_is_distinct_known_and_whole(codec: TokenizerCodec) -> None:
    for greedy in (True, False):
        for found in run_episodes(TESTED, environment(codec, random_model(codec)), greedy=greedy):
            assert found.is_valid
            assert found.stop_reason is StopReason.FINISHED
            assert len(found.ranking) == len(found.lines) == len(set(found.ranking)) == 3
            assert found.draw is not None
            assert found.ranking == found.draw.lists[0]
            assert set(found.ranking) <= set(found.draw.pool)
            assert found.response.endswith(TAGS.end_list)


def test_what_is_drawn_from_is_the_policys_title_times_the_trms_shares(
    codec: TokenizerCodec, steered: MentioningTRM
) -> None:
    """By the first preference and by none: what later turns ask for brings items, and ranks nothing."""
    model = random_model(codec)
    set_prior(model, ListPrior(asked=2.0, plain=0.5))
    for example, found in zip(
        TESTED, run_episodes(TESTED, environment(codec, model, trm=steered), greedy=True), strict=True
    ):
        draw = found.draw
        assert draw is not None
        plain = steered.retrieve([example.history], None, 5, [example.history])
        allowed = [item for item in range(1, 31) if item not in example.history]
        by_first, by_none = (
            {item: row[item] - np.logaddexp.reduce(row[allowed]) for item in allowed}
            for row in steered.score([example.history] * 2, ["Action", None]).astype(np.float64)
        )
        assert set(draw.pool) == {*found.pool, *plain.item_indices[0].tolist()}
        assert by_first != by_none
        assert draw.sharpness == 2.5
        values = {}
        for item, prior in zip(draw.pool, draw.prior, strict=True):
            assert prior == pytest.approx(2.0 * by_first[item] + 0.5 * by_none[item], abs=1e-4)
            values[item] = prior + title_log_probability(model, codec, found, item)
        ranked = sorted(draw.pool, key=lambda item: -values[item])
        assert list(found.ranking) == ranked[:3]


class TestWithAWish:
    """Other weights; what any turn excludes comes last."""

    TEXTS = (explore("Action; not Comedy"), explore("Drama"), CLOSING)
    WISHING = tuple(replace(example, wish="action, and no comedy") for example in TESTED)

    def test_priors_are_shares_by_what_was_asked_first(self, steered: MentioningTRM) -> None:
        codec, model = build_codec(), random_model(build_codec())
        set_prior(model, ListPrior(asked=0.0, plain=7.0))  # of who says nothing
        set_prior(model, ListPrior(asked=1.5, plain=0.0), wished=True)
        found = run_episodes(self.WISHING, environment(codec, model, self.TEXTS, trm=steered), greedy=True)
        for example, one in zip(TESTED, found, strict=True):
            assert one.draw is not None
            scores = steered.score([example.history], ["Action; not Comedy"])[0].astype(np.float64)
            scores[[0, *example.history]] = -np.inf
            shares = scores - np.logaddexp.reduce(scores)
            bad = set(steered.bearers.of("Comedy").tolist())
            for item, prior in zip(one.draw.pool, one.draw.prior, strict=True):
                if item in bad:  # comes after all else, whatever its title's likelihood
                    assert prior < 1.5 * shares[item] - 10
                else:
                    assert prior == pytest.approx(1.5 * shares[item], abs=1e-4)

    @pytest.mark.parametrize("asked", [3.0, 0.0])
    @pytest.mark.parametrize("says", [True, False])
    def test_what_one_turn_excludes_no_list_brings_while_there_is_anything_else(
        self, steered: MentioningTRM, asked: float, says: bool
    ) -> None:
        """Whatever the weights, and whoever thought of it, user or policy."""
        codec, model = build_codec(), random_model(build_codec())
        for wished in (True, False):
            set_prior(model, ListPrior(asked=asked, plain=0.0), wished=wished)
        bad = set(steered.bearers.of("Comedy").tolist())
        where = environment(codec, model, self.TEXTS, trm=steered)
        for greedy in (True, False):
            where.engine._said = dict.fromkeys(where.engine._said, 0)  # type: ignore[attr-defined]
            found = run_episodes(self.WISHING if says else TESTED, where, greedy=greedy)
            assert any(bad & set(one.draw.pool) for one in found if one.draw)
            for one in found:
                assert one.draw is not None
                assert len(set(one.draw.pool) - bad) >= 3
                assert not bad & set(one.ranking)

    def test_where_all_is_excluded_the_list_is_whole(self, steered: MentioningTRM) -> None:
        codec = build_codec()
        texts = (explore("; ".join(f"not {category}" for category in CATEGORIES)), CLOSING)
        found = run_episodes(
            self.WISHING, environment(codec, random_model(codec), texts, trm=steered), greedy=True
        )
        assert all(len(one.ranking) == 3 for one in found)


@pytest.mark.parametrize("weights", [ListPrior(0.25, 0.5), ListPrior(2.0, 1.0)])
def test_probabilities_are_those_of_drawing_without_replacement(
    codec: TokenizerCodec, weights: ListPrior
) -> None:
    """However much the TRM is trusted, as sharply as by one expert at most: what is sharper is drawn always alike."""
    model = random_model(codec)
    set_prior(model, weights)
    for found in run_episodes(TESTED[:2], environment(codec, model, drawn=4), greedy=False):
        draw = found.draw
        assert draw is not None
        assert len(draw.lists) == len(draw.logprobs) == 4
        values = {
            item: (prior + title_log_probability(model, codec, found, item))
            / max(1.0, weights.asked + weights.plain)
            for item, prior in zip(draw.pool, draw.prior, strict=True)
        }
        for items, logs in zip(draw.lists, draw.logprobs, strict=True):
            left = dict(values)
            for item, log in zip(items, logs, strict=True):
                assert log == pytest.approx(left[item] - np.logaddexp.reduce(list(left.values())), abs=1e-3)
                del left[item]


def test_what_is_read_ends_with_the_history_and_stands_behind_all_so_far_where_titles_are_long(
    codec: TokenizerCodec,
) -> None:
    for example, found in zip(
        TESTED, run_episodes(TESTED, environment(codec, random_model(codec)), greedy=True), strict=True
    ):
        draw = found.draw
        assert draw is not None
        titles = TitleTexts(codec, CATALOG)
        again = titles.context(example.history[-3:])
        assert draw.context[-len(again) :] == again
        before = draw.context[: -len(again)]
        if titles.is_compact:
            assert before == ()
            continue
        opened = len(before) - len(found.prompt_ids)
        assert before == found.prompt_ids + found.response_ids[:opened]
        assert codec.decode(before).endswith(TAGS.begin_list)
        assert not any(found.loss_mask[opened:])


def test_draws_follow_seed_and_batch_alike(codec: TokenizerCodec) -> None:
    where = environment(codec, random_model(codec), drawn=3)

    def drawn(count: int, seed: int) -> list[tuple[tuple[int, ...], ...]]:
        where.engine._said = dict.fromkeys(where.engine._said, 0)  # type: ignore[attr-defined]
        where.reseed(seed)
        found = run_episodes(TESTED[:count], where, greedy=False)
        return [trajectory.draw.lists for trajectory in found if trajectory.draw is not None]

    assert drawn(2, 5) == drawn(6, 5)[:2]
    assert drawn(6, 5) != drawn(6, 6)


def test_a_pool_smaller_than_the_list_gives_a_shorter_one() -> None:
    codec = build_codec()
    where = environment(codec, random_model(codec), (explore("Action"), CLOSING))
    for most, expected in ((5, 3), (2, 2), (1, 1), (0, 0)):
        short = [replace(one, history=tuple(range(1, 31 - most))) for one in TESTED[:1]]
        where.engine._said = dict.fromkeys(where.engine._said, 0)  # type: ignore[attr-defined]
        (found,) = run_episodes(short, where, greedy=False)
        assert len(found.ranking) == expected


def test_the_whole_catalogue_may_be_listed() -> None:
    codec = build_codec()
    config = settings(list="masked", list_history=3, response_tokens=2000, list_items="catalogue")
    base = environment(codec, random_model(codec))
    lists = MaskedLists(random_model(codec), codec, DATASET, TRM, config, seed=0)
    where = replace(base, config=config, lists=lists)
    for example, found in zip(TESTED, run_episodes(TESTED, where, greedy=True), strict=True):
        assert found.draw is not None
        assert sorted(found.draw.pool) == [item for item in range(1, 31) if item not in example.history]
    with pytest.raises(PolicyError, match="set it to 'found'"):
        MaskedLists(random_model(letters()), letters(), DATASET, TRM, config, seed=0)


def test_a_list_without_any_retrieval_is_a_failure() -> None:
    codec = build_codec()
    for found in run_episodes(TESTED[:2], environment(codec, random_model(codec), (CLOSING,)), greedy=True):
        assert not found.is_valid
        assert "no retrieval" in found.format_errors


def test_a_response_without_room_for_its_list_is_cut() -> None:
    codec = build_codec()
    base = environment(codec, random_model(codec), (explore("Action"), CLOSING))
    lengths = {len(found.response_ids) for found in run_episodes(TESTED[:1], base, greedy=True)}
    config = base.config.model_copy(update={"response_tokens": max(lengths) - 1})
    base.engine._said = dict.fromkeys(base.engine._said, 0)  # type: ignore[attr-defined]
    (found,) = run_episodes(TESTED[:1], replace(base, config=config), greedy=True)
    assert found.stop_reason is StopReason.TOKEN_LIMIT
    assert found.ranking == ()


def test_a_retrieved_list_is_what_the_trm_found_for_the_last_preference() -> None:
    codec = build_codec()
    base = environment(codec, random_model(codec))
    where = replace(base, lists=RetrievedLists(3))
    for found in run_episodes(TESTED, where, greedy=True):
        assert found.is_valid
        assert found.ranking == found.turns[-1].retrieved[:3]
        end = found.response_ids.index(codec.tag_ids[TAGS.begin_list]) + 1
        assert not any(found.loss_mask[end:])
        assert found.loss_mask[end - 1] == 1
