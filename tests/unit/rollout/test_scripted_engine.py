"""The engine that recites."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase

from deeprec.data.catalog import Catalog
from deeprec.errors import EngineError, PolicyError
from deeprec.policy.tokenizer import build_tokenizer
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.engines.base import Request, Sampling
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.tags import TAGS
from deeprec.types import Item


@pytest.fixture(scope="module")
def codec() -> TokenizerCodec:
    catalog = Catalog((Item(1, "a", "Alien", "Alien", ("Sci-Fi",), 1979),))
    return TokenizerCodec(build_tokenizer(catalog, ["I look for more. "], pieces=100))


def test_each_episode_recites_its_own_texts_in_order(codec: TokenizerCodec) -> None:
    engine = ScriptedEngine(codec, {1: ["one", "two"], 2: ["three"]}, logprob=-0.1)
    sampling = Sampling(1.0, 1.0, 50, frozenset())
    both = engine.generate([Request(2, (1,), 50), Request(1, (1,), 50)], sampling)
    assert [codec.decode(segment.token_ids) for segment in both] == ["three", "one"]
    assert set(both[0].logprobs) == {-0.1}
    assert codec.decode(engine.generate([Request(1, (1, 2), 50)], sampling)[0].token_ids) == "two"


def test_a_segment_ends_at_a_tag_as_sampling_would(codec: TokenizerCodec) -> None:
    text = f"I look for {TAGS.begin_preference}Sci-Fi{TAGS.end_preference}"
    engine = ScriptedEngine(codec, {0: [text + " and more"]})
    stop = codec.tag_ids[TAGS.end_preference]
    segment = engine.generate([Request(0, (1,), 50)], Sampling(1.0, 1.0, 50, frozenset({stop})))[0]
    assert codec.decode(segment.token_ids) == text
    assert segment.stopped


def test_a_script_that_runs_out_is_an_error(codec: TokenizerCodec) -> None:
    engine = ScriptedEngine(codec, {0: ["only this"]})
    sampling = Sampling(1.0, 1.0, 50, frozenset())
    engine.generate([Request(0, (1,), 50)], sampling)
    with pytest.raises(EngineError, match="episode 0: the script has 1 texts and was asked for number 2"):
        engine.generate([Request(0, (1,), 50)], sampling)
    with pytest.raises(EngineError, match="episode 5: the script has 0 texts"):
        engine.generate([Request(5, (1,), 50)], sampling)


def test_a_tokenizer_without_end_of_text_is_refused(codec: TokenizerCodec) -> None:
    import copy

    tokenizer: PreTrainedTokenizerBase = copy.deepcopy(codec.tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(PolicyError, match="no end-of-text token"):
        TokenizerCodec(tokenizer)
