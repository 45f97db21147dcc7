"""The vLLM engine: what it asks vLLM for, and (slow, with the extra `vllm`) vLLM itself beside `local`.

Where vLLM is not installed, `RecordedCalls` stands in its place: it keeps what it was asked
and answers by a second copy of the model, so that weights which don't arrive show.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from small_world import build_codec, build_dataset, settings
from torch import Tensor
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from deeprec.config import PolicyConfig, load_config
from deeprec.errors import EngineError, MissingExtraError
from deeprec.policy.loading import load_policy, save_policy
from deeprec.rollout.engines import vllm as vllm_module
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.build import build_engine
from deeprec.rollout.engines.local import LocalEngine
from deeprec.rollout.engines.vllm import VLLMEngine, request_seed, sampling_arguments
from deeprec.rollout.engines.weights import named_weights
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import ItemKNN
from deeprec.types import Trajectory

CODEC = build_codec()
SAMPLING = Sampling(0.8, 0.9, 12, frozenset({5, 3}))
GREEDY = Sampling(0.0, 1.0, 12, frozenset())
REQUESTS = [Request(key, tuple(CODEC.encode("Alien Brazil" + " Dune" * key)), 12 - key) for key in range(4)]


def make_model(*, tied: bool = False, seed: int = 0, context: int = 700) -> Qwen2ForCausalLM:
    """Random, and loud enough that its greedy choices are no close calls."""
    shape = Qwen2Config(
        vocab_size=len(CODEC.tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(shape)
        shake(model, 0.3)
    return model.eval()


def shake(model: PreTrainedModel, size: float) -> None:
    """Move whatever can be trained."""
    for weight in model.parameters():
        if weight.requires_grad and weight.dim() > 1:
            weight.data.add_(size * torch.randn_like(weight))


class RecordedCalls:
    """In vLLM's place: keeps what it was asked, and answers by its own copy of the model."""

    def __init__(self, model: PreTrainedModel, *, deaf: bool = False) -> None:
        self.model, self.deaf = copy.deepcopy(model), deaf
        self.holder: object | None = None
        self.loads = 0
        self.calls: list[list[tuple[tuple[int, ...], Mapping[str, Any]]]] = []

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        self.loads += 1
        found = dict(weights)
        if not self.deaf:
            report = self.model.load_state_dict(found, strict=False)
            assert not report.unexpected_keys
            assert not report.missing_keys  # a tied output layer among them

    def sample(
        self, contexts: Sequence[Sequence[int]], arguments: Sequence[Mapping[str, Any]]
    ) -> list[Segment]:
        self.calls.append([(tuple(c), a) for c, a in zip(contexts, arguments, strict=True)])
        found = []
        for context, asked in self.calls[-1]:
            engine = LocalEngine(self.model, seed=asked["seed"])
            stops = frozenset(asked["stop_token_ids"])
            sampling = Sampling(asked["temperature"], asked["top_p"], asked["max_tokens"], stops)
            found += engine.generate([Request(0, context, asked["max_tokens"])], sampling)
        return found

    def score(self, ids: Sequence[int]) -> list[float]:
        with torch.no_grad():
            chances = self.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        return [chances[place, token].item() for place, token in enumerate(ids[1:])]


def recorded(model: PreTrainedModel, **options: Any) -> tuple[VLLMEngine, RecordedCalls]:
    calls = RecordedCalls(options.pop("other", model), deaf=options.pop("deaf", False))
    return VLLMEngine(model, seed=0, llm=calls, **options), calls  # type: ignore[arg-type]


class TestAsking:
    def test_nothing_is_left_to_a_default(self) -> None:
        assert sampling_arguments(SAMPLING, 7, 11) == {
            "temperature": 0.8, "top_p": 0.9, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
            "seed": 11, "max_tokens": 7, "stop_token_ids": [3, 5], "ignore_eos": True,
            "logprobs": 0, "detokenize": False,
        }  # fmt: skip

    def test_each_request_has_its_context_cap_and_seed(self) -> None:
        engine, calls = recorded(make_model())
        segments = engine.generate(REQUESTS, SAMPLING)
        asked = calls.calls[0]
        assert [context for context, _ in asked] == [request.context for request in REQUESTS]
        assert [options["max_tokens"] for _, options in asked] == [12, 11, 10, 9]
        assert len({options["seed"] for _, options in asked}) == len(REQUESTS)
        assert len(segments) == len(REQUESTS)

    def test_a_seed_depends_on_the_episode_and_its_length_alone(self) -> None:
        base = request_seed(0, 0, 1, 5)
        assert base == request_seed(0, 0, 1, 5)
        others = [request_seed(*place) for place in ((1, 0, 1, 5), (0, 1, 1, 5), (0, 0, 2, 5), (0, 0, 1, 6))]
        assert len({base, *others}) == 5
        assert all(0 <= seed < 2**63 for seed in (base, *others))

    def test_company_changes_nothing_and_reseeding_repeats(self) -> None:
        engine, _ = recorded(make_model())
        together = engine.generate(REQUESTS, SAMPLING)
        assert [recorded(make_model())[0].generate([r], SAMPLING)[0] for r in REQUESTS] == together
        engine.forget()
        assert engine.generate(REQUESTS, SAMPLING) != together
        engine.reseed(0)
        assert engine.generate(REQUESTS, SAMPLING) == together

    def test_a_key_twice_is_an_error(self) -> None:
        with pytest.raises(EngineError, match="share a key"):
            recorded(make_model())[0].generate([REQUESTS[0], REQUESTS[0]], GREEDY)


class TestWeights:
    def test_they_are_taken_once_until_forgotten(self) -> None:
        engine, calls = recorded(make_model())
        for _ in range(3):
            engine.generate(REQUESTS, GREEDY)
        assert calls.loads == 1
        engine.forget()
        engine.forget()
        engine.generate(REQUESTS, GREEDY)
        assert calls.loads == 2

    def test_two_policies_share_a_vllm(self) -> None:
        one, calls = recorded(make_model(seed=1), other=make_model(seed=3))
        other = VLLMEngine(make_model(seed=2), seed=0, llm=calls)  # type: ignore[arg-type]
        first, second = one.generate(REQUESTS, GREEDY), other.generate(REQUESTS, GREEDY)
        assert first != second
        assert one.generate(REQUESTS, GREEDY) == first
        assert calls.loads == 3

    def test_a_run_starts_vllm_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The policy of a stage comes from another folder than that of the stage before."""
        started: dict[str, RecordedCalls] = {}

        def start(shape: str, **_: object) -> RecordedCalls:
            return started.setdefault(shape, RecordedCalls(make_model(seed=7)))

        monkeypatch.setattr(vllm_module, "find_spec", lambda _: object())
        monkeypatch.setattr(vllm_module, "start_vllm", start)
        for stage in ("warm_start", "cold_start"):
            save_policy(make_model(), CODEC.tokenizer, tmp_path / stage)
            model = load_policy(str(tmp_path / stage), PolicyConfig()).model
            model.config.use_cache = stage == "cold_start"
            VLLMEngine(model, seed=0).generate(REQUESTS, GREEDY)
        assert [calls.loads for calls in started.values()] == [2]

    def test_weights_that_did_not_arrive_are_noticed(self) -> None:
        engine, calls = recorded(make_model(seed=1), other=make_model(seed=2), deaf=True)
        with pytest.raises(EngineError, match=r"differ by \d+\.\d\d nats a token on a prompt"):
            engine.generate(REQUESTS, GREEDY)
        assert calls.calls == []

    @pytest.mark.parametrize("tied", [False, True])
    def test_adapters_are_merged_on_the_way_and_the_policy_stays(self, tmp_path: Path, tied: bool) -> None:
        adapted = with_adapters(make_model(tied=tied), tmp_path)
        before = {name: weight.clone() for name, weight in adapted.named_parameters()}
        found = dict(named_weights(adapted))
        assert all(torch.equal(before[name], weight) for name, weight in adapted.named_parameters())
        merged = copy.deepcopy(adapted).merge_and_unload()
        expected = dict(merged.named_parameters(remove_duplicate=False))
        assert found.keys() == expected.keys()
        for name, weight in expected.items():
            torch.testing.assert_close(found[name], weight, msg=name)
        started = dict(make_model(tied=tied).named_parameters())
        assert sum(not torch.equal(found[name], weight) for name, weight in started.items()) > 10


class FakeLLM:
    """Stands for `vllm.LLM`: keeps how it was started, and fails where it is told to."""

    started: ClassVar[list[dict[str, Any]]] = []
    fails: ClassVar[dict[str, Exception]] = {}

    def __init__(self, **options: Any) -> None:
        shape = json.loads((Path(options["model"]) / "config.json").read_text())
        self.started.append({**options, "shape": shape})
        self.fail("start")

    def fail(self, when: str) -> None:
        if when in self.fails:
            raise self.fails[when]

    def collective_rpc(self, *_: Any, **__: Any) -> None:
        self.fail("load")

    def reset_prefix_cache(self) -> None:
        """Nothing is kept."""

    def generate(self, *_: Any, **__: Any) -> None:
        self.fail("generate")


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeLLM]]:
    fake = SimpleNamespace(LLM=FakeLLM, SamplingParams=lambda **options: options)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    monkeypatch.setattr(vllm_module, "find_spec", lambda _: object())
    monkeypatch.setattr(FakeLLM, "started", [])
    monkeypatch.setattr(FakeLLM, "fails", {})
    vllm_module.start_vllm.cache_clear()
    yield FakeLLM
    vllm_module.start_vllm.cache_clear()


class TestStarting:
    @pytest.mark.parametrize("tied", [False, True])
    def test_length_memory_and_shape_are_given(self, fake_vllm: type[FakeLLM], tied: bool) -> None:
        fake_vllm.fails["generate"] = RuntimeError("enough")
        engine = VLLMEngine(make_model(tied=tied), seed=0, memory=0.4, sequences=7, context_length=300)
        assert engine.context_length == 300
        with pytest.raises(EngineError, match="enough"):
            engine.generate(REQUESTS, GREEDY)
        (options,) = fake_vllm.started
        assert options["max_model_len"] == 300
        assert (options["gpu_memory_utilization"], options["max_num_seqs"]) == (0.4, 7)
        assert options["shape"]["tie_word_embeddings"] is False  # the output layer is sent, too
        assert options.get("enforce_eager") is (None if torch.cuda.is_available() else True)
        assert options.get("enable_chunked_prefill") is (None if torch.cuda.is_available() else False)

    def test_no_length_beyond_the_models(self) -> None:
        assert VLLMEngine(make_model(), seed=0, context_length=9000, llm=object()).context_length == 700  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("when", "says"),
        [
            ("start", r"vLLM can't start \(no room\); .*lower engine\.context \(700 now\)"),
            ("load", r"vLLM can't take over the weights \(no room\); set engine\.kind = 'local'"),
            ("generate", r"vLLM can't read a prompt \(no room\); set engine\.kind = 'local'"),
        ],
    )
    @pytest.mark.parametrize("kind", [RuntimeError, ValueError, AssertionError])
    def test_what_fails_at_any_time_is_told_as_ours(
        self, fake_vllm: type[FakeLLM], when: str, says: str, kind: type[Exception]
    ) -> None:
        fake_vllm.fails[when] = kind("no room\nTraceback of a worker")
        with pytest.raises(EngineError, match=says):
            VLLMEngine(make_model(), seed=0).generate(REQUESTS, GREEDY)

    def test_a_lack_of_memory_says_what_to_lower(self, fake_vllm: type[FakeLLM]) -> None:
        fake_vllm.fails["generate"] = torch.OutOfMemoryError("CUDA out of memory")
        with pytest.raises(EngineError, match=r"lower engine\.vllm_memory or rollout\.users_per_batch"):
            VLLMEngine(make_model(), seed=0).generate(REQUESTS, GREEDY)


def with_adapters(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with LoRA adapters and tag embeddings that have been trained."""
    save_policy(model, CODEC.tokenizer, folder / "base")
    adapted = load_policy(str(folder / "base"), PolicyConfig(lora_rank=4)).model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        shake(adapted, 0.05)
    return adapted


def test_settings_choose_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    assert isinstance(build_engine(load_config(), model, CODEC, seed=0), LocalEngine)
    chosen = load_config(overrides=["engine.kind=vllm"])
    monkeypatch.setattr(vllm_module, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"needs an extra that is not installed: .*\[vllm\]"):
        build_engine(chosen, model, CODEC, seed=0)
    monkeypatch.setattr(vllm_module, "find_spec", lambda _: object())
    engine = build_engine(chosen, model, CODEC, seed=0)
    assert isinstance(engine, VLLMEngine)
    assert engine.context_length == 700
    for kind in ("vllm", "local"):
        shorter = load_config(overrides=[f"engine.kind={kind}", "engine.context=90"])
        assert build_engine(shorter, model, CODEC, seed=0).context_length == 90


# vLLM itself. On a CPU: `make vllm`.

real = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.filterwarnings("default"),
]


def real_engine(model: PreTrainedModel, dtype: str = "float32") -> VLLMEngine:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB: on a CPU, several vLLMs share the memory
    return VLLMEngine(model, seed=0, dtype=dtype, memory=0.2, sequences=16)


def assert_same(found: Sequence[Segment], expected: Sequence[Segment]) -> None:
    assert [segment.token_ids for segment in found] == [segment.token_ids for segment in expected]
    assert [segment.stopped for segment in found] == [segment.stopped for segment in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(
            torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-3, rtol=0
        )


class TestVLLM:
    pytestmark = real

    def test_greedy_trajectories_of_several_turns_equal_those_of_local(self) -> None:
        model = make_model()
        with torch.no_grad():  # so that a random model writes preferences, and rarely ends
            model.lm_head.weight[
                [CODEC.tag_ids[TAGS.begin_preference], CODEC.tag_ids[TAGS.end_preference]]
            ] *= 3
            model.lm_head.weight[[CODEC.tag_ids[TAGS.end_list], CODEC.eos_id]] *= 0
        config = settings(segment_tokens=24, response_tokens=400, users_per_batch=8)
        dataset = build_dataset()
        found: list[list[Trajectory]] = []
        for engine in (LocalEngine(model, seed=0), real_engine(model)):
            environment = Environment(dataset, ItemKNN.fit(dataset), engine, CODEC, config)
            found.append(run_episodes(dataset.examples("test"), environment, greedy=True))
        local, ours = found
        print("turns:", [len(t.turns) for t in local], "tokens:", [sum(t.loss_mask) for t in local])
        assert max(len(t.turns) for t in local) >= 3
        assert [t.response_ids for t in ours] == [t.response_ids for t in local]
        for one, other in zip(ours, local, strict=True):
            torch.testing.assert_close(
                torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-3, rtol=0
            )

    def test_company_changes_nothing_and_reseeding_repeats(self) -> None:
        engine = real_engine(make_model())
        together = engine.generate(REQUESTS, SAMPLING)
        for request in reversed(REQUESTS):
            engine.reseed(0)
            assert_same(engine.generate([request], SAMPLING), [together[request.key]])
        engine.forget()
        assert engine.generate(REQUESTS, SAMPLING) != together
        assert_same(real_engine(make_model()).generate(REQUESTS, SAMPLING), together)

    def test_logprobs_are_the_models_own_whatever_the_sampling(self) -> None:
        model = make_model()
        for request, segment in zip(
            REQUESTS, real_engine(model).generate(REQUESTS, Sampling(0.6, 0.7, 12, frozenset())), strict=True
        ):
            ids = torch.tensor([[*request.context, *segment.token_ids]])
            with torch.no_grad():
                chances = model(ids).logits[0].log_softmax(-1)[len(request.context) - 1 : -1]
            own = chances.gather(1, torch.tensor(segment.token_ids)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(segment.logprobs), own, atol=1e-3, rtol=0)

    def test_weights_follow_those_that_are_trained(self) -> None:
        model = make_model()
        engine = real_engine(model)
        before = engine.generate(REQUESTS, GREEDY)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(9)
            shake(model, 0.2)
        engine.forget()
        after = engine.generate(REQUESTS, GREEDY)
        assert [s.token_ids for s in before] != [s.token_ids for s in after]
        assert_same(after, LocalEngine(model, seed=0).generate(REQUESTS, GREEDY))

    def test_adapters_are_part_of_the_weights(self, tmp_path: Path) -> None:
        base = make_model()
        adapted = with_adapters(base, tmp_path)
        found = real_engine(adapted).generate(REQUESTS, GREEDY)
        assert_same(found, LocalEngine(adapted, seed=0).generate(REQUESTS, GREEDY))
        assert [s.token_ids for s in found] != [
            s.token_ids for s in real_engine(base).generate(REQUESTS, GREEDY)
        ]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_bfloat16_in_vllm_stays_near_the_policy(self, dtype: torch.dtype) -> None:
        """As in the presets: a policy of either type, sampled in bfloat16."""
        model = make_model().to(dtype)
        engine = real_engine(model, dtype="bfloat16")
        request = Request(0, REQUESTS[3].context * 4, 40)
        segment = engine.generate([request], Sampling(1.0, 0.95, 40, frozenset()))[0]
        with torch.no_grad():
            found = model(torch.tensor([[*request.context, *segment.token_ids]])).logits[0].float()
        chances = found.log_softmax(-1)[len(request.context) - 1 : -1]
        own = chances.gather(1, torch.tensor(segment.token_ids)[:, None])[:, 0]
        apart = (own - torch.tensor(segment.logprobs)).abs().mean().item()
        print(f"{dtype}: {apart:.3f} nats a token")
        assert 0 < apart < 0.1

    def test_a_tied_output_layer_arrives_too(self) -> None:
        model = make_model(tied=True)
        engine, local = real_engine(model), LocalEngine(model, seed=0)
        for _ in range(2):
            assert_same(engine.generate(REQUESTS, GREEDY), local.generate(REQUESTS, GREEDY))
            shake(model, 0.1)
            engine.forget()
            local.forget()

    def test_more_prompt_tokens_than_a_chunk_can_be_sampled_with_seeds(self) -> None:
        requests = [Request(key, tuple(range(10, 510)), 2) for key in range(12)]
        assert len(real_engine(make_model()).generate(requests, Sampling(1.0, 1.0, 2, frozenset()))) == 12
