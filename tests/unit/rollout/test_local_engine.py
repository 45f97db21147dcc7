"""The local engine against plain transformers."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from deeprec.errors import EngineError
from deeprec.rollout.engines import local as local_module
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.lean import lean_pass
from deeprec.rollout.engines.local import LocalEngine

VOCABULARY = 97
STOPS = frozenset({3, 5, 8, 13, 21})


def make_model(kind: str = "qwen2", *, context: int = 256, attention: str = "sdpa") -> PreTrainedModel:
    common = {
        "vocab_size": VOCABULARY,
        "bos_token_id": None,
        "eos_token_id": None,
        "attn_implementation": attention,
    }
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if kind == "gpt2":
            model = GPT2LMHeadModel(GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=context))
        elif kind == "llama":
            model = LlamaForCausalLM(LlamaConfig(**common, **sizes))
        else:
            model = Qwen2ForCausalLM(Qwen2Config(**common, **sizes, tie_word_embeddings=True))
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.data.normal_(0.0, 0.4)  # far from uniform, so that greedy choices are clear
    return model.eval()


def reference(model: PreTrainedModel, context: Sequence[int], cap: int, stops: frozenset[int]) -> list[int]:
    """Greedy continuation by `generate()` on the whole context, alone."""
    ids = torch.tensor([context])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=cap,
        do_sample=False,
        eos_token_id=sorted(stops),
        pad_token_id=0,
    )
    return output[0, len(context) :].tolist()


def logprobs_of(model: PreTrainedModel, context: Sequence[int], segment: Segment) -> list[float]:
    """From one full forward pass over context and segment."""
    with torch.no_grad():
        logits = model(torch.tensor([[*context, *segment.token_ids]])).logits[0]
    table = logits.log_softmax(dim=-1)[len(context) - 1 : -1]
    return table.gather(1, torch.tensor(segment.token_ids)[:, None])[:, 0].tolist()


def three_turns(engine, sampling, check, *, rows: int = 9, drop: bool = True, seed: int = 0) -> None:
    """Ragged prompts, ragged items of the environment, rows that drop out."""
    draw = random.Random(seed)
    contexts = {key: [draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 40))] for key in range(rows)}
    for turn in range(3):
        keys = [key for key in contexts if not drop or turn == 0 or key % 3 != turn]
        draw.shuffle(keys)
        caps = {key: draw.randint(1, 25) for key in keys}
        segments = engine.generate([Request(key, tuple(contexts[key]), caps[key]) for key in keys], sampling)
        for key, segment in zip(keys, segments, strict=True):
            check(contexts[key], caps[key], segment)
            contexts[key] += [
                *segment.token_ids,
                *(draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 20))),
            ]


@pytest.mark.parametrize(
    ("kind", "attention"), [("qwen2", "sdpa"), ("qwen2", "eager"), ("llama", "sdpa"), ("gpt2", "sdpa")]
)
@pytest.mark.parametrize("prefill", [16_384, 50])
def test_greedy_is_what_generate_writes_over_three_turns(kind, attention, prefill, monkeypatch) -> None:
    monkeypatch.setattr(local_module, "_PREFILL_TOKENS_CPU", prefill)  # few tokens a pass: many passes
    model = make_model(kind, attention=attention)
    engine = LocalEngine(model, seed=0)

    def check(context: list[int], cap: int, segment: Segment) -> None:
        assert list(segment.token_ids) == reference(model, context, cap, STOPS)
        assert segment.stopped == (segment.token_ids[-1] in STOPS)
        assert segment.logprobs == pytest.approx(logprobs_of(model, context, segment), abs=1e-4)

    three_turns(engine, Sampling(0.0, 1.0, 100, STOPS), check)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.0, 0.8), (0.6, 0.95)])
def test_logprobs_are_the_models_own_at_temperature_one(temperature, top_p) -> None:
    model = make_model()
    engine = LocalEngine(model, seed=0)

    def check(context: list[int], cap: int, segment: Segment) -> None:
        assert segment.logprobs == pytest.approx(logprobs_of(model, context, segment), abs=1e-4)

    three_turns(engine, Sampling(temperature, top_p, 100, STOPS), check, rows=6)


def count_read_tokens(model: PreTrainedModel) -> list[int]:
    shapes: list[int] = []

    def note(_: object, __: object, kwargs: dict[str, torch.Tensor]) -> None:
        if "input_ids" in kwargs:  # the engine's own passes
            shapes.append(kwargs["input_ids"].numel())

    model.register_forward_pre_hook(note, with_kwargs=True)
    return shapes


def test_a_later_turn_reads_only_what_is_new() -> None:
    model = make_model()
    engine = LocalEngine(model, seed=0)
    read = count_read_tokens(model)
    greedy = Sampling(0.0, 1.0, 4, frozenset())
    context = tuple(range(30))
    first = engine.generate([Request(7, context, 4)], greedy)[0]
    assert read == [30, 1, 1, 1]  # the last token is sampled, not read
    read.clear()
    context += (*first.token_ids, 1, 2, 3)
    engine.generate([Request(7, context, 4)], greedy)
    assert read == [4, 1, 1, 1]  # that token and three of the environment
    read.clear()
    engine.generate([Request(7, (9, *context), 4)], greedy)  # not a continuation
    assert read == [len(context) + 1, 1, 1, 1]
    read.clear()
    engine.forget()
    engine.generate([Request(7, (9, *context, 1), 1)], greedy)
    assert read == [len(context) + 2]


def test_a_prompt_that_a_group_shares_is_read_once() -> None:
    model = make_model()
    engine = LocalEngine(model, seed=0)
    read = count_read_tokens(model)
    prompts = [tuple(range(30)), tuple(range(5, 31))]
    requests = [Request(key, prompts[key % 2], 6) for key in range(8)]
    segments = engine.generate(requests, Sampling(1.0, 1.0, 6, frozenset()))
    assert read == [60] + [8] * 5  # two rows of 30 (one padded), then one token a row
    assert len({segment.token_ids for segment in segments}) == 8
    for request, segment in zip(requests, segments, strict=True):
        assert segment.logprobs == pytest.approx(logprobs_of(model, request.context, segment), abs=1e-4)


@pytest.mark.parametrize("kind", ["qwen2", "llama", "gpt2"])
def test_rows_that_join_in_mid_flight_are_like_rows_of_a_fresh_engine(kind) -> None:
    model = make_model(kind)
    engine, fresh = (LocalEngine(model, seed=0) for _ in range(2))
    greedy = Sampling(0.0, 1.0, 8, STOPS)
    draw = random.Random(1)
    contexts: dict[int, list[int]] = {}
    joined = 0
    for _ in range(8):
        for key in draw.sample(sorted(contexts), len(contexts) // 3):
            del contexts[key]
        for _ in range(draw.randint(0, 4)):
            contexts[joined] = [draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 30))]
            joined += 1
        requests = [Request(key, tuple(ids), draw.randint(1, 8)) for key, ids in contexts.items()]
        draw.shuffle(requests)
        fresh.forget()
        found, expected = engine.generate(requests, greedy), fresh.generate(requests, greedy)
        for request, one, other in zip(requests, found, expected, strict=True):
            assert one.token_ids == other.token_ids
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
            contexts[request.key] += [*one.token_ids, 1, 2, 3]
    assert joined > 10


def test_rows_that_go_on_are_not_read_again_when_others_join() -> None:
    model = make_model()
    engine = LocalEngine(model, seed=0)
    read = count_read_tokens(model)
    once = Sampling(1.0, 1.0, 1, frozenset())
    prompts = {key: tuple(range(key, key + 30)) for key in range(4)}
    contexts = dict(prompts)
    for key, segment in enumerate(
        engine.generate([Request(key, ids, 1) for key, ids in contexts.items()], once)
    ):
        contexts[key] += segment.token_ids
    assert read == [120]
    read.clear()
    # 0 and 2 leave, 1 and 3 go on, and one joins.
    engine.generate(
        [Request(3, contexts[3], 1), Request(7, tuple(range(20)), 1), Request(1, contexts[1], 1)], once
    )
    assert read == [2, 20]  # their last tokens, and a new prompt
    read.clear()
    # Row 1 began with the prompt of one that joins now: that one reads its last token alone.
    engine.generate([Request(8, prompts[1], 1), Request(1, (*contexts[1], 5), 1)], once)
    assert read == [1, 1]


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
@pytest.mark.parametrize("temperature", [0.0, 0.6])
def test_guesses_change_nothing_but_the_number_of_passes(kind, temperature, monkeypatch) -> None:
    passes: list[int] = []
    feed = LocalEngine._feed
    monkeypatch.setattr(LocalEngine, "_feed", lambda *given, **more: passes.append(1) or feed(*given, **more))
    written: list[list[Segment]] = []
    counts = []
    for guesses in (0, 7):
        engine = LocalEngine(make_model(kind), seed=0, guesses=guesses)
        found: list[Segment] = []
        for _ in range(4):  # what was written three times is known by heart
            engine.reseed(0)
            passes.clear()
            three_turns(
                engine,
                Sampling(temperature, 1.0, 40, STOPS),
                lambda context, cap, segment, found=found: found.append(segment),
            )
        written.append(found)
        counts.append(len(passes))
    for one, other in zip(*written, strict=True):
        assert one.token_ids == other.token_ids
        assert one.stopped == other.stopped
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert counts[1] < counts[0] / 2


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_the_lean_pass_is_for_a_plain_model_alone(kind: str) -> None:
    model = make_model(kind)
    assert lean_pass(model, 64) is not None
    assert lean_pass(make_model("gpt2"), 64) is None
    assert lean_pass(make_model(kind).bfloat16(), 64) is None
    for name, value in (
        ("hidden_act", "gelu"),
        ("mlp_bias", True),
        ("rope_parameters", {"rope_type": "yarn"}),
    ):
        odd = make_model(kind)
        setattr(odd.config, name, value)
        assert lean_pass(odd, 64) is None, name
    handle = model.model.layers[0].register_forward_hook(lambda *given: None)
    assert lean_pass(model, 64) is None
    handle.remove()
    with torch.autocast("cpu", torch.bfloat16):
        assert lean_pass(model, 64) is None
    assert lean_pass(model, 64) is not None


def test_the_lean_pass_stands_in_for_a_replaced_forward_that_computes_the_same() -> None:
    model = make_model()
    plain = model.forward
    model.forward = plain  # as a trainer may put it back
    assert lean_pass(model, 64) is not None
    model.forward = lambda *given, **more: plain(*given, **more)  # as TRL's
    assert lean_pass(model, 64) is not None

    def mixed(*given: object, **more: object) -> object:  # as Accelerate's
        with torch.autocast("cpu", torch.bfloat16):
            found = plain(*given, **more)
        found.logits = found.logits.float()
        return found

    model.forward = mixed
    assert lean_pass(model, 64) is None


def test_changed_weights_count_after_forget() -> None:
    model = make_model()
    engine = LocalEngine(model, seed=0)
    greedy = Sampling(0.0, 1.0, 10, frozenset())
    engine.generate([Request(0, (1, 2, 3), 10)], greedy)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(-0.7)
    engine.forget()
    (segment,) = engine.generate([Request(0, (1, 2, 3), 10)], greedy)
    assert list(segment.token_ids) == reference(model, [1, 2, 3], 10, frozenset())


def test_done_rows_make_room() -> None:
    model = make_model()
    engine = LocalEngine(model, seed=0)
    read = count_read_tokens(model)
    requests = [Request(key, (key + 1, 2), 20 if key == 5 else 2) for key in range(8)]
    engine.generate(requests, Sampling(1.0, 1.0, 20, frozenset()))
    assert read == [16, 8] + [1] * 18


def test_a_seed_fixes_what_is_written_whoever_shares_the_batch() -> None:
    model = make_model()
    requests = [Request(key, (1, 2, 3 + key), 12) for key in range(6)]
    sampling = Sampling(1.0, 0.95, 12, STOPS)
    first = LocalEngine(model, seed=4).generate(requests, sampling)
    alone = [LocalEngine(model, seed=4).generate([request], sampling)[0] for request in requests]
    assert [segment.token_ids for segment in first] == [segment.token_ids for segment in alone]
    other = LocalEngine(model, seed=5).generate(requests, sampling)
    assert [segment.token_ids for segment in first] != [segment.token_ids for segment in other]


def test_forget_draws_anew_and_reseed_starts_over() -> None:
    engine = LocalEngine(make_model(), seed=4)
    requests = [Request(key, (1, 2, 3), 12) for key in range(4)]
    sampling = Sampling(1.0, 1.0, 12, frozenset())
    first = engine.generate(requests, sampling)
    engine.forget()
    assert engine.generate(requests, sampling) != first
    engine.reseed(4)
    assert engine.generate(requests, sampling) == first


def test_dropout_is_off_and_the_mode_comes_back() -> None:
    model = make_model("gpt2").train()
    engine = LocalEngine(model, seed=0)
    segment = engine.generate([Request(0, (1, 2, 3), 5)], Sampling(0.0, 1.0, 5, frozenset()))[0]
    assert model.training
    assert segment.logprobs == pytest.approx(logprobs_of(model.eval(), (1, 2, 3), segment), abs=1e-4)


def test_equal_keys_are_refused() -> None:
    engine = LocalEngine(make_model(), seed=0)
    with pytest.raises(EngineError, match="share a key"):
        engine.generate([Request(1, (1,), 2), Request(1, (2,), 2)], Sampling(1.0, 1.0, 2, frozenset()))


def test_out_of_memory_names_the_setting_and_the_engine_stays_usable(monkeypatch) -> None:
    model = make_model("gpt2")  # its own forward pass runs, where the lack can be staged
    engine = LocalEngine(model, seed=0)
    greedy = Sampling(0.0, 1.0, 5, frozenset())
    expected = engine.generate([Request(0, (1, 2, 3), 5)], greedy)
    calls = []

    def exhausted(*args: object, **kwargs: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = model.register_forward_pre_hook(exhausted)
    with pytest.raises(EngineError, match=r"1 episodes of up to 14 tokens; lower rollout\.users_per_batch"):
        engine.generate([Request(0, (1, 2, 3, *expected[0].token_ids, 7), 5)], greedy)
    handle.remove()
    engine.forget()
    assert engine.generate([Request(0, (1, 2, 3), 5)], greedy) == expected


def test_models_that_cannot_be_cached_by_rows_are_refused() -> None:
    model = make_model()
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(EngineError, match="flash_attention_2"):
        LocalEngine(model, seed=0)
    model = make_model()
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(EngineError, match="linear_attention"):
        LocalEngine(model, seed=0)


def test_context_is_limited_to_a_sliding_window_and_by_hand() -> None:
    model = make_model(context=64)
    assert LocalEngine(model, seed=0).context_length == 64
    assert LocalEngine(model, seed=0, context_length=20).context_length == 20
    mistral = MistralForCausalLM(
        MistralConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            sliding_window=24,
        )
    )
    assert LocalEngine(mistral, seed=0).context_length == 24


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_it_writes_what_generate_writes() -> None:
    model = make_model().to("cuda")
    engine = LocalEngine(model, seed=0)
    on_cpu = make_model()

    def check(context: list[int], cap: int, segment: Segment) -> None:
        assert list(segment.token_ids) == reference(on_cpu, context, cap, STOPS)
        assert segment.logprobs == pytest.approx(logprobs_of(on_cpu, context, segment), abs=1e-3)

    three_turns(engine, Sampling(0.0, 1.0, 100, STOPS), check)
