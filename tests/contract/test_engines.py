"""One suite that every engine passes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec

import pytest
import torch
from openai_server import transformers_serve
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from deeprec.errors import EngineError
from deeprec.rollout.engines.base import Engine, Request, Sampling
from deeprec.rollout.engines.local import LocalEngine
from deeprec.rollout.engines.openai import OpenAIEngine
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.engines.vllm import VLLMEngine

LETTERS = "abcdefghijklmnopqrstuvwxyz. "
CONTEXT = 60
STOP = LETTERS.index(".")


class LetterCodec:
    """A token a letter."""

    eos_id = 0
    tag_ids: dict[str, int] = {}  # noqa: RUF012

    def encode(self, text: str) -> list[int]:
        return [LETTERS.index(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(LETTERS[token] for token in ids)


CODEC = LetterCodec()


def scripted() -> Engine:
    texts = ["the quick brown fox. jumps over the lazy dog", "and sleeps until the morning comes again"] * 4
    return ScriptedEngine(CODEC, dict.fromkeys(range(8), texts), context_length=CONTEXT, logprob=-0.5)


def small_model(width: int, heads: int) -> Qwen2ForCausalLM:
    shape = Qwen2Config(
        vocab_size=len(LETTERS),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=CONTEXT,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2ForCausalLM(shape)


def local() -> Engine:
    return LocalEngine(small_model(32, 4), seed=0)


def vllm() -> Engine:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    model = small_model(64, 2)
    return VLLMEngine(model, seed=0, dtype="float32", memory=0.2, sequences=16)


# Opt-in: vLLM takes a minute to start. `pytest -m slow tests/contract/test_engines.py`
WITH_VLLM = pytest.param(
    vllm,
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"),
        pytest.mark.filterwarnings("default"),
    ],
    id="vllm",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A real server's address, and the name by which it knows a policy of letters."""
    folder = tmp_path_factory.mktemp("letters")
    letters = Tokenizer(models.WordLevel({letter: id_ for id_, letter in enumerate(LETTERS)}, unk_token="a"))
    letters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    letters.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=letters, clean_up_tokenization_spaces=False).save_pretrained(
        folder
    )
    shape = LlamaConfig(
        vocab_size=len(LETTERS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.5,  # it writes greedily, and must not say the same for ever
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)  # most of what it writes comes to a stop
        LlamaForCausalLM(shape).save_pretrained(folder)
    with transformers_serve(folder) as address:
        yield address, str(folder)


@pytest.fixture(
    params=[
        pytest.param(scripted, id="scripted"),
        pytest.param(local, id="local"),
        pytest.param(None, id="openai"),
        WITH_VLLM,
    ]
)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[], Engine]]:
    if request.param is not None:
        yield request.param
        return
    address, name = request.getfixturevalue("served")
    with ExitStack() as engines:
        yield lambda: engines.enter_context(OpenAIEngine(address, name, CODEC, context_length=CONTEXT))


def sampling(cap: int = 30, stops: frozenset[int] = frozenset()) -> Sampling:
    return Sampling(1.0, 1.0, cap, stops)


def requests(count: int = 4, cap: int = 30) -> list[Request]:
    return [Request(key, tuple(CODEC.encode("tell" + "me" * key)), cap) for key in range(count)]


def test_one_segment_per_request_with_parallel_logprobs(make) -> None:
    segments = make().generate(requests(), sampling())
    assert len(segments) == 4
    for segment in segments:
        assert 1 <= len(segment.token_ids) == len(segment.logprobs) <= 30
        assert all(0 <= token < len(LETTERS) for token in segment.token_ids)
        # Unknown behind a server that gives back text: such an engine refuses to train (`reseed`).
        assert all(logprob <= 0 or math.isnan(logprob) for logprob in segment.logprobs)


def test_it_stops_after_and_includes_the_first_stop_token(make) -> None:
    seen = False
    for segment in make().generate(requests(8, cap=40), sampling(40, frozenset({STOP}))):
        if segment.stopped:
            seen = True
            assert segment.token_ids.index(STOP) == len(segment.token_ids) - 1
        else:
            assert STOP not in segment.token_ids
            assert len(segment.token_ids) == 40
    assert seen


def test_both_caps_hold(make) -> None:
    mixed = [Request(0, (1, 2), 3), Request(1, (1, 2), 99), Request(2, (4,), 1)]
    segments = make().generate(mixed, sampling(7))
    assert [len(segment.token_ids) for segment in segments] == [3, 7, 1]
    assert not any(segment.stopped for segment in segments)


def test_contexts_grow_over_turns_and_requests_may_drop_out(make) -> None:
    engine = make()
    contexts = {request.key: list(request.context) for request in requests(4)}
    for keys in ((0, 1, 2, 3), (3, 1, 0), (0, 3)):
        asked = [Request(key, tuple(contexts[key]), 8) for key in keys]
        for key, segment in zip(keys, engine.generate(asked, sampling()), strict=True):
            assert len(segment.token_ids) == 8
            contexts[key] += [*segment.token_ids, 1, 2]


def test_others_may_join_while_some_go_on(make) -> None:
    engine = make()
    contexts = {request.key: list(request.context) for request in requests(6)}
    for keys in ((0, 1), (2, 1, 3), (4, 3, 5, 1)):
        asked = [Request(key, tuple(contexts[key]), 4 + key) for key in keys]
        for key, segment in zip(keys, engine.generate(asked, sampling()), strict=True):
            assert len(segment.token_ids) == 4 + key
            contexts[key] += [*segment.token_ids, 1, 2]


def test_a_context_is_filled_to_the_last_token(make) -> None:
    engine = make()
    assert engine.context_length == CONTEXT
    segment = engine.generate([Request(0, (1,) * (CONTEXT - 5), 30)], sampling())[0]
    assert len(segment.token_ids) == 5
    assert not segment.stopped


def test_a_context_without_room_is_an_error_with_both_sizes(make) -> None:
    with pytest.raises(EngineError, match="60 tokens leave no room in the model's context of 60"):
        make().generate([Request(0, (1,) * CONTEXT, 30)], sampling())


def test_nothing_to_continue_from_or_to_write_is_an_error(make) -> None:
    with pytest.raises(EngineError, match="empty context"):
        make().generate([Request(0, (), 3)], sampling())
    with pytest.raises(EngineError, match="asked for 0 new tokens"):
        make().generate([Request(0, (1,), 0)], sampling())


def test_no_requests_no_segments(make) -> None:
    assert make().generate([], sampling()) == []


def test_after_forget_it_goes_on(make) -> None:
    engine = make()
    engine.generate(requests(), sampling(5))
    engine.forget()
    assert len(engine.generate(requests(), sampling(5))) == 4


def test_two_engines_alike_write_alike(make) -> None:
    assert make().generate(requests(), sampling()) == make().generate(requests(), sampling())


def test_after_reseed_it_draws_as_the_seed_says_or_it_refuses_to_train(make) -> None:
    engine, other = make(), make()
    first = engine.generate(requests(), sampling())
    engine.forget()
    if any(math.isnan(logprob) for segment in first for logprob in segment.logprobs):
        with pytest.raises(EngineError, match="can't be trained"):
            engine.reseed(4)
        return
    for found in (engine, other):
        found.reseed(4)
    assert engine.generate(requests(), sampling()) == other.generate(requests(), sampling())
