"""vLLM as an engine: in this process, token ids in and out, weights taken from the policy.

vLLM reads no text here and has no tokenizer. It starts with empty weights of the policy's
shape, and gets the policy's own before each batch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from deeprec.errors import EngineError, MissingExtraError, first_line
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.causal_lm import evaluating, is_out_of_memory
from deeprec.rollout.engines.limits import new_token_cap
from deeprec.rollout.engines.weights import named_weights

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_PROBE = 64  # tokens of a prompt on which vLLM and the policy must agree
_AGREEMENT = 0.25  # nats; bfloat16 costs a few hundredths, wrong weights cost whole nats
_PASSING = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"}
# Graphs are a GPU's. Chunked prefill calls for a generator's offset, which a CPU's doesn't have, as soon as a batch of
# seeded requests has more prompt tokens than one chunk.
_ON_CPU: Mapping[str, Any] = {"enforce_eager": True, "enable_chunked_prefill": False}
# Read by vLLM when it is imported or started. The first keeps it in this process, where it
# can read the policy's weights; the others keep it silent, and off the network.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


@dataclass(slots=True)
class Colocated:
    """A vLLM in this process, and whose weights it holds."""

    llm: Any  # vllm.LLM
    holder: object | None = None

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace all weights, and forget what was computed with the old ones."""
        self.holder = None
        with named_failures("take over the weights"):
            self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
            self.llm.reset_prefix_cache()

    def sample(
        self, contexts: Sequence[Sequence[int]], arguments: Sequence[Mapping[str, Any]]
    ) -> list[Segment]:
        """Continue each context by `vllm.SamplingParams(**arguments)`."""
        from vllm import SamplingParams

        with named_failures("sample"):
            outputs = self.llm.generate(
                [{"prompt_token_ids": list(context)} for context in contexts],
                [SamplingParams(**options) for options in arguments],
                use_tqdm=False,
            )
        return [_segment(output.outputs[0]) for output in outputs]

    def score(self, ids: Sequence[int]) -> list[float]:
        """Log-probability of each token but the first, given those before it."""
        from vllm import SamplingParams

        prompt_only = SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=0, ignore_eos=True, detokenize=False
        )
        with named_failures("read a prompt"):
            output = self.llm.generate([{"prompt_token_ids": list(ids)}], [prompt_only], use_tqdm=False)[0]
        found = zip(ids[1:], output.prompt_logprobs[1:], strict=True)
        return [float(position[token].logprob) for token, position in found]


@contextmanager
def named_failures(doing: str) -> Iterator[None]:
    """Errors of a vLLM that is running, as EngineError; that of a lack of memory tells what to lower.

    Raises EngineError in their place.
    """
    try:
        yield
    except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
        lower = "lower engine.vllm_memory or rollout.users_per_batch, or " if is_out_of_memory(error) else ""
        raise EngineError(
            f"vLLM can't {doing} ({first_line(error)}); {lower}set engine.kind = 'local'"
        ) from error


class VLLMEngine:
    """Engine on vLLM (extra `vllm`), whose weights follow those of `model`.

    What an episode draws depends on `seed`, the number of `forget` calls since, its key and
    its length; its neighbours in the batch change it only as far as they change the
    rounding of its logits. After a change of weights call `forget`: the next call brings them
    over and checks on a prompt that vLLM and the policy say the same. Raises
    MissingExtraError without the extra, EngineError when vLLM can't start or disagrees.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        seed: int,
        memory: float = 0.3,
        sequences: int = 128,
        dtype: str = "bfloat16",
        context_length: int | None = None,
        llm: Colocated | None = None,
    ) -> None:
        if llm is None and find_spec("vllm") is None:
            raise MissingExtraError("engine.kind = 'vllm'", "vllm")
        self._model = model
        self._llm = llm  # started at the first use: training takes its memory first
        longest = int(model.config.get_text_config().max_position_embeddings)
        self._context = min(longest, context_length or longest)
        self._options: dict[str, Any] = {
            "dtype": dtype,
            "memory": memory,
            "sequences": sequences,
            "context": self._context,
        }
        self._seed, self._part = seed, 0
        self._is_stale = True
        self._name = object()

    @property
    def context_length(self) -> int:
        """Tokens that prompt and response may have together."""
        return self._context

    def forget(self) -> None:
        """Take the weights anew before the next segment, and go on to fresh random numbers."""
        self._part += 1
        self._is_stale = True

    def reseed(self, seed: int) -> None:
        """Forget, and draw as a new engine with this seed would."""
        self.forget()
        self._seed, self._part = seed, 0

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        """One segment per request, in order; a request's own `max_new_tokens` caps it further.

        Contexts that grow from call to call are read once: vLLM caches by prefix.
        """
        if not requests:
            return []
        if len({request.key for request in requests}) < len(requests):
            raise EngineError("two requests of one call share a key; every episode needs its own")
        caps = [new_token_cap(request, sampling, self.context_length) for request in requests]
        arguments = [
            sampling_arguments(
                sampling, cap, request_seed(self._seed, self._part, request.key, len(request.context))
            )
            for request, cap in zip(requests, caps, strict=True)
        ]
        llm = self._with_weights(requests[0].context)
        return llm.sample([request.context for request in requests], arguments)

    def _with_weights(self, probe: Sequence[int]) -> Colocated:
        """vLLM, started if need be, holding this policy's present weights."""
        if self._llm is None:
            self._llm = start_vllm(_shape(self._model), **self._options)
        if self._is_stale or self._llm.holder is not self._name:
            self._llm.load(named_weights(self._model))
            self._check(self._llm, list(probe[:_PROBE]))
            self._llm.holder, self._is_stale = self._name, False
        return self._llm

    def _check(self, llm: Colocated, ids: list[int]) -> None:
        """Raise EngineError unless vLLM gives a prompt's tokens the chances that the policy does."""
        if len(ids) < 2:
            return
        with evaluating(self._model):
            found = self._model(input_ids=torch.tensor([ids], device=self._model.device))
        chances = found.logits[0, :-1].float().log_softmax(-1).cpu()
        ours = chances.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        apart = float((ours - torch.tensor(llm.score(ids))).abs().mean())
        if not apart <= _AGREEMENT:
            raise EngineError(
                f"vLLM and the policy differ by {apart:.2f} nats a token on a prompt (at most {_AGREEMENT}): it didn't "
                "take over the weights of this kind of model on this device; set engine.kind = 'local'"
            )


def sampling_arguments(sampling: Sampling, cap: int, seed: int) -> dict[str, Any]:
    """Arguments of `vllm.SamplingParams`; nothing is left to a default of the model's.

    Log-probabilities are those of the sampled token alone. Only `stop_ids` end a segment:
    the model's own end-of-text token is one of them where the caller says so.
    """
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "seed": seed,
        "max_tokens": cap,
        "stop_token_ids": sorted(sampling.stop_ids),
        "ignore_eos": True,
        "logprobs": 0,
        "detokenize": False,
    }


def request_seed(seed: int, part: int, key: int, start: int) -> int:
    """Seed of one segment: an episode (`key`) at a length (`start`) draws the same in any batch."""
    return int.from_bytes(sha256(repr((seed, part, key, start)).encode()).digest()[:8], "big") >> 1


@cache
def start_vllm(shape: str, *, dtype: str, memory: float, sequences: int, context: int) -> Colocated:
    """The process's vLLM for models of this shape (a `config.json` as text), without weights yet.

    It stays until the process ends and serves every policy of the shape in turn, for vLLM
    doesn't give its memory back. `memory` is its share of the whole GPU memory, `context` the tokens of
    its longest sequence.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()})
    from vllm import LLM

    try:
        # vLLM seeds the generators of the whole process.
        with (
            TemporaryDirectory(prefix="deeprec-vllm-") as folder,
            torch.random.fork_rng(devices=[0] if torch.cuda.is_available() else []),
        ):
            (Path(folder) / "config.json").write_text(shape, encoding="utf-8")
            llm = LLM(
                model=folder,
                load_format="dummy",
                skip_tokenizer_init=True,
                generation_config="vllm",
                dtype=dtype,
                seed=0,
                gpu_memory_utilization=memory,
                max_num_seqs=sequences,
                max_model_len=context,
                **({} if torch.cuda.is_available() else _ON_CPU),
                enable_prefix_caching=True,
                logprobs_mode="raw_logprobs",
            )
    except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
        raise EngineError(
            f"vLLM can't start ({first_line(error)}); engine.vllm_memory = {memory} is its share of the GPU's memory: "
            f"raise it, or lower engine.context ({context} now), if the cache has no room; lower it if the memory is "
            "taken; or set engine.kind = 'local'"
        ) from error
    return Colocated(llm)


def _shape(model: PreTrainedModel) -> str:
    """The model's `config.json`, without what may differ between policies of one shape."""
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    # Never tied: vLLM's build for CPUs packs a tied output layer once, and would go on with it after new weights.
    values = {**bare.config.to_dict(), "architectures": [type(bare).__name__], "tie_word_embeddings": False}
    return json.dumps({key: values[key] for key in sorted(values.keys() - _PASSING)}, default=str)


def _segment(output: Any) -> Segment:
    """A vLLM `CompletionOutput` in our terms."""
    ids = tuple(int(token) for token in output.token_ids)
    logprobs = tuple(float(chance[token].logprob) for token, chance in zip(ids, output.logprobs, strict=True))
    return Segment(ids, logprobs, output.finish_reason == "stop")
