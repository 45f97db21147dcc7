"""What stock OpenRLHF asks for trajectories (0.11.2 was tried): the agent that a launch writes derives from it.

Ids go in and out: what was sampled is never encoded again.
"""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

from openrlhf.utils.agent import AgentExecutorBase

from deeprec.launch.agent import Agent
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.run import Run
from deeprec.stages import rl_stage
from deeprec.types import StopReason

_TRUNCATED = (StopReason.SEGMENT_LIMIT, StopReason.TOKEN_LIMIT)


class Executor(AgentExecutorBase):  # type: ignore[misc] # an untyped library's
    """One for each rollout actor; its TRM answers in the same process."""

    folder: Path  # RUN/openrlhf/STAGE, which says what is trained

    def __init__(self) -> None:
        """Raises RunError where the run is not there on this machine."""
        self.agent = Agent.of(Run.open(self.folder.parents[1]), rl_stage(self.folder.name))

    async def execute(
        self,
        prompt: str,
        label: str,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
        images: Any = None,
    ) -> dict[str, Any]:
        """One trajectory for the example that `label` names, in OpenRLHF's terms."""
        del prompt, hf_tokenizer  # it is rendered and encoded as under TRL

        async def generate(request: Request, sampling: Sampling) -> Segment:
            params = copy(sampling_params)  # a group shares it
            params.max_tokens, params.min_tokens = request.max_new_tokens, 1
            params.temperature, params.top_p = sampling.temperature, sampling.top_p
            params.stop_token_ids, params.ignore_eos = sorted(sampling.stop_ids), True
            output = (await llm_engine.generate(list(request.context), params)).outputs[0]
            return to_segment(output, sampling.stop_ids)

        found = await self.agent.explore(label, generate, max_length)
        return {
            "prompt": found.trajectory.prompt,
            "label": label,
            "images": images,
            "mm_train_inputs": None,
            "observation_tokens": found.token_ids,
            "action_ranges": found.action_ranges,
            "rollout_log_probs": None if sampling_params.logprobs is None else found.logprobs,
            "truncated": found.trajectory.stop_reason in _TRUNCATED,
            "reward": found.reward,
            "scores": found.reward,
            "extra_logs": {f"reward/{name}": value for name, value in found.parts.items()}
            | {"valid": float(found.trajectory.is_valid), "retrievals": float(len(found.trajectory.turns))},
        }


def to_segment(output: Any, stops: frozenset[int]) -> Segment:
    """A `CompletionOutput` of vLLM in our terms; without log-probabilities they are 0, and nobody reads them."""
    ids = tuple(output.token_ids)
    logprobs = (
        tuple(float(position[token].logprob) for token, position in zip(ids, output.logprobs, strict=True))
        if output.logprobs
        else (0.0,) * len(ids)
    )
    return Segment(ids, logprobs, bool(ids) and ids[-1] in stops)
