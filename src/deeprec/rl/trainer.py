"""TRL's GRPOTrainer with our rollouts, our advantages, and logits where they are needed.

The seam. TRL promises `rollout_func` and that advantages may be (B, C); the rest of what is replaced or read here
is its own, and was tried with the releases that pyproject.toml allows (`tests/unit/rl/test_trl_seam.py` names what
a release changed):

- `_generate_and_score_completions` asks our rollout function, then computes a baseline of its own. We replace the
  `advantages` of the batch that it returns, and put the lists' plans beside them: TRL's `_prepare_inputs` cuts and
  shuffles both with the rows (`split_tensor_dict`, `shuffle_sequence_dict`).
- `_compute_loss` is called around: the masks of its batch (`completion_mask` x `tool_mask`) are held for the
  scoring that it asks for, the lists' loss is added behind it, divided by `current_gradient_accumulation_steps`
  as TRL divides its own, and figures go to `_metrics`.
- `_get_per_token_logps_and_entropies` is replaced whole. Where not all logits fit, it calls the head that TRL puts
  in front of the model's `forward` (`add_fused_lm_head`), which divides by `temperature` itself.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import pad

from deeprec.errors import TrainingError
from deeprec.rl.list_term import ListTerm
from deeprec.rl.sampling import Sampler
from deeprec.rl.scoring import Scores, score_in_tiles, score_sampled
from deeprec.rl.whitening import whiten_together

if TYPE_CHECKING:
    from torch import Tensor

# Above this many logits in one pass (1 GiB), TRL's tiled projection is used instead.
_LOGITS_AT_ONCE = 2**28
_PLANS = "list_plans"  # key of a batch: what is to be learned from each row's lists, or None


def reward(**columns: Any) -> list[float]:
    """TRL wants a reward function: ours came with the rollouts, mixed. What TRL makes of it is not used."""
    values: list[float] = columns["reward"]
    return values


class DeepRecTrainer(GRPOTrainer):  # type: ignore[misc]
    """Samples with our runner, sets advantages by token, and skips useless logits.

    The data set's `prompt` column holds positions in the sampler's examples: all that TRL
    must carry. `updates_per_step` optimizer steps make one iteration.
    """

    def __init__(
        self, sampler: Sampler, updates_per_step: int, term: ListTerm | None = None, **options: Any
    ) -> None:
        self._sampler, self._term = sampler, term
        self._updates_per_step = updates_per_step
        self._sampled: Tensor | None = None  # (B, C), of the loss being computed
        self._scores: Scores | None = None  # of the loss being computed
        self._rolled_out: list[list[int]] = []  # masks of the latest rollouts
        super().__init__(rollout_func=_roll_out, reward_funcs=[reward], **options)

    def roll_out(self, prompts: list[str]) -> dict[str, Any]:
        """What TRL asks a rollout function for, in the order of `prompts`."""
        step = self.state.global_step // self._updates_per_step + 1
        rank = self.accelerator.process_index
        found = self._sampler.sample([int(prompt) for prompt in prompts], step, rank)
        self._rolled_out = found["env_mask"]
        # Rollouts are by the weights that are about to be trained: with one update an
        # iteration the ratio is 1, and nobody needs the log-probabilities of sampling.
        return {**found, "logprobs": None}

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        output["advantages"] = whiten_together(
            self.accelerator, self._sampler.advantages, _sampled_mask(output)
        )
        output[_PLANS] = list(self._sampler.plans)  # cut and shuffled with the rest of the batch
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._sampled = _sampled_mask(inputs)
        try:
            loss: Tensor = super()._compute_loss(model, inputs)
            if self._term is not None:
                loss = loss + self._added(self._term, model, inputs)
        finally:
            self._sampled = self._scores = None
        if not torch.isfinite(loss):
            raise TrainingError(
                f"stage '{self._sampler.stage}': the loss is {loss.item()} after step "
                f"{self.state.global_step // self._updates_per_step}; the last checkpoint is kept; "
                "lower rl.learning_rate"
            )
        return loss

    def _added(self, term: ListTerm, model: Any, inputs: dict[str, Any]) -> Tensor:
        """What lists and the pull add to the loss; the mean over trajectories, as TRL takes one over tokens."""
        prompts, sampled = inputs["prompt_ids"], _sampled_mask(inputs)
        ids = torch.cat([prompts, inputs["completion_ids"]], dim=1)
        seen = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        spoken = torch.cat([torch.zeros_like(prompts), sampled], dim=1)

        def score(asked: Any) -> Tensor:
            return score_sampled(asked, ids, seen, spoken, 1.0).spoken

        # Where TRL computed the tokens itself, there are no logits that the start could be held against.
        own = self._scores.spoken if self._scores else None
        with self._precision():
            added, figures = term.added(model, inputs[_PLANS], own, score)
        for name, value in figures.items():
            self._metrics["train"][name].append(value)
        share: Tensor = added / self.current_gradient_accumulation_steps
        return share

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **others: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Log-probabilities (B, C) and entropies of sampled tokens; 0.0 where the mask is 0.

        Equals TRL's own figures at those positions. TRL's tiled projection is used where it is the
        better choice: wrapped models (their hooks must run) and huge vocabularies.
        """
        sampled = self._sampled
        if sampled is None:  # asked for old log-probabilities, before there is a batch
            masks = [torch.tensor(mask, device=input_ids.device) for mask in self._rolled_out]
            sampled = pad(masks, padding_value=0, padding_side="right")
        before = torch.zeros_like(input_ids[:, :-logits_to_keep])
        wanted = torch.cat([before, sampled], dim=1)
        rows = batch_size or len(input_ids)
        in_tiles = self._needs_tiles(model, max(int(part.sum()) for part in torch.split(sampled, rows)))
        found = []
        with self._precision():
            for start in range(0, len(input_ids), rows):
                part = slice(start, start + rows)
                batch = input_ids[part], attention_mask[part], wanted[part]
                if in_tiles:
                    found.append(score_in_tiles(model, *batch))
                    continue
                scores = score_sampled(model, *batch, self.temperature)
                found.append((scores.log_probabilities, scores.entropies))
                if self._sampled is not None and self._term is not None and rows >= len(input_ids):
                    self._scores = scores
        logps = torch.cat([chosen for chosen, _ in found])[:, -logits_to_keep:]
        entropies = torch.cat([entropy for _, entropy in found])[:, -logits_to_keep:]
        return logps, entropies if compute_entropy else None, None

    def _needs_tiles(self, model: Any, busiest: int) -> bool:
        """Whether so many sampled tokens in one pass have too many logits to hold, or the model is wrapped."""
        vocabulary = model.config.get_text_config().vocab_size if hasattr(model, "config") else 0
        return self.accelerator.num_processes > 1 or not vocabulary or busiest * vocabulary > _LOGITS_AT_ONCE

    def _precision(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.accelerator.autocast()
        return context

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        """TRL's, timed: the sampler's figures say how long an iteration trained."""
        started = time.perf_counter()
        before = self._sampler.figures
        loss: Tensor = super().training_step(*arguments, **options)
        figures = self._sampler.figures
        seconds = time.perf_counter() - started
        # The first pass of an iteration contains its rollouts.
        if figures is not before:
            seconds -= figures["seconds/rollout"]
        figures["seconds/training"] = figures.get("seconds/training", 0.0) + seconds
        return loss

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """No card: a checkpoint is for resuming, the finished policy is saved elsewhere."""


def _roll_out(prompts: list[str], trainer: DeepRecTrainer) -> dict[str, Any]:
    return trainer.roll_out(prompts)


def _sampled_mask(batch: dict[str, Any]) -> Tensor:
    """1 (B, C) exactly where the policy sampled a token."""
    mask: Tensor = batch["completion_mask"] * batch["tool_mask"]
    return mask
