"""No trajectory outgrows its caps, whoever writes the list: a model with just as many positions reads each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_world import build_codec, build_dataset, explore, final_list, letters, settings
from transformers import GPT2Config, GPT2LMHeadModel

from deeprec.config import RolloutConfig
from deeprec.rl.scoring import score_sampled
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.engines.causal_lm import evaluating
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.environment import Environment
from deeprec.rollout.list_makers import RetrievedLists
from deeprec.rollout.masked import MaskedLists
from deeprec.rollout.reranked import RerankedTRM
from deeprec.rollout.runner import run_episodes
from deeprec.rollout.tags import TAGS
from deeprec.rollout.title_likelihoods import Likelihoods
from deeprec.rollout.titles import TitleTexts
from deeprec.trm.baselines import ItemKNN
from deeprec.types import Example, StopReason, Trajectory

DATASET = build_dataset()
TESTED = DATASET.examples("test")
TRM = ItemKNN.fit(DATASET)
OPENED = f"Now rank.{TAGS.end_think}\n{TAGS.begin_list}"
CODECS: dict[str, Callable[[], TokenizerCodec]] = {
    "one token a title": build_codec,
    "one token a byte": letters,
}


def with_positions(codec: TokenizerCodec, count: int, dropout: float = 0.0) -> GPT2LMHeadModel:
    """A model that fails at position `count`, and any beyond."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = GPT2Config(
            vocab_size=len(codec.tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=count,
            resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
        )  # fmt: skip
        return GPT2LMHeadModel(shape).eval()


def roll_out(codec: TokenizerCodec, model: GPT2LMHeadModel, config: RolloutConfig) -> list[Trajectory]:
    texts = [explore("Action"), final_list() if config.list == "free" else OPENED]
    engine = ScriptedEngine(codec, dict.fromkeys(range(len(TESTED)), texts), model.config.n_positions)
    lists = None
    if config.list == "retrieved":
        lists = RetrievedLists(config.recommended)
    elif config.list == "masked":
        lists = MaskedLists(model, codec, DATASET, TRM, config, seed=0)
    return run_episodes(TESTED, Environment(DATASET, TRM, engine, codec, config, lists=lists), greedy=True)


@pytest.mark.parametrize("kind", list(CODECS))
@pytest.mark.parametrize("who", ["free", "retrieved", "masked"])
@pytest.mark.parametrize("cap", ["context", "response"])
def test_a_trajectory_keeps_within_its_caps_and_is_read_whole(kind: str, who: str, cap: str) -> None:
    codec = CODECS[kind]()
    sizes = {"list": who, "history": 2, "list_history": 3, "retrieved": 3}
    whole = roll_out(codec, with_positions(codec, 2000), settings(**sizes, response_tokens=1900))
    assert {found.stop_reason for found in whole} == {StopReason.FINISHED}
    longest = max(len(found.response_ids) for found in whole)
    prompt = max(len(found.prompt_ids) for found in whole)
    stops = set()
    for less in (0, 1, 2, 3, 5, 9, longest // 2, longest - 1):
        room = longest - less
        changed = {"response_tokens": room} if cap == "response" else {"response_tokens": 1900}
        model = with_positions(codec, prompt + room if cap == "context" else 2000)
        done = roll_out(codec, model, settings(**sizes, **changed))
        for found in done:
            assert len(found.prompt_ids) + len(found.response_ids) <= model.config.n_positions
            assert len(found.response_ids) <= changed["response_tokens"]
            if found.stop_reason is StopReason.FINISHED:
                assert len(found.lines) == 3
            else:
                assert found.draw is None
                assert not found.is_valid
        stops |= {found.stop_reason for found in done}
        assert_read(model, done)
    assert stops >= {StopReason.FINISHED, StopReason.TOKEN_LIMIT}


def assert_read(model: GPT2LMHeadModel, done: list[Trajectory]) -> None:
    """The trainer's scores of a batch, padded as TRL pads, equal those of each trajectory alone."""
    before, behind = (max(len(getattr(t, name)) for t in done) for name in ("prompt_ids", "response_ids"))
    ids, seen, sampled = (torch.zeros(len(done), before + behind, dtype=torch.long) for _ in range(3))
    for row, t in enumerate(done):
        part = slice(before - len(t.prompt_ids), before + len(t.response_ids))
        ids[row, part] = torch.tensor(t.prompt_ids + t.response_ids)
        seen[row, part] = 1
        sampled[row, before : before + len(t.loss_mask)] = torch.tensor(t.loss_mask)
    with torch.no_grad():
        found = score_sampled(model, ids, seen, sampled, 1.0).log_probabilities
        for row, t in enumerate(done):
            alone = torch.tensor([t.prompt_ids + t.response_ids])
            logs = model(alone).logits.log_softmax(-1)[0, :-1].gather(1, alone[0, 1:, None])[:, 0]
            expected = torch.cat([torch.zeros(1), logs])[len(t.prompt_ids) :] * torch.tensor(t.loss_mask)
            torch.testing.assert_close(
                found[row, before : before + len(expected)], expected, atol=1e-4, rtol=1e-4
            )


@pytest.mark.parametrize("kind", list(CODECS))
def test_a_reader_reads_as_many_of_the_latest_titles_as_it_has_positions_for(kind: str) -> None:
    codec = CODECS[kind]()
    titles = TitleTexts(codec, DATASET.catalog)
    reader = Likelihoods(with_positions(codec, 30))
    long = Example("u", tuple(range(1, 25)))
    ranked = RerankedTRM(TRM, reader, titles, DATASET, settings(list_history=20), "trm-reranked")
    assert len(ranked.recommend([long], 3)[0].ranking) == 3
    latest = titles.latest(long.history, 30)
    assert len(latest) <= 30
    kept = next(n for n in range(25) if titles.context(long.history[n:]) == latest)
    assert len(titles.context(long.history[kept - 1 :])) > 30 if kept else len(long.history) < 30
    assert titles.latest(long.history, None) == titles.context(long.history)
    assert titles.latest(long.history, 0) == titles.start  # nothing fits


@pytest.mark.parametrize("kind", list(CODECS))
def test_likelihoods_of_a_model_in_training_are_those_without_dropout(kind: str) -> None:
    codec = CODECS[kind]()
    model, titles = with_positions(codec, 60, dropout=0.5), TitleTexts(codec, DATASET.catalog)
    rows = [(titles.context((1, 2)), [titles.title(item) for item in (3, 4, 5)])]
    expected = Likelihoods(model).behind(rows)[0].tolist()
    model.train()
    model.transformer.drop.eval()  # a part that its owner holds still
    assert [Likelihoods(model).behind(rows)[0].tolist() for _ in range(2)] == [expected, expected]
    assert model.training
    assert model.transformer.h[0].training
    assert not model.transformer.drop.training


def test_the_mode_comes_back_after_an_error() -> None:
    model = with_positions(build_codec(), 60).train()
    with pytest.raises(IndexError), evaluating(model):
        model(torch.zeros((1, 61), dtype=torch.long))  # one more than it has positions
    assert all(part.training for part in model.modules())
