"""How likely a causal LM finds titles behind a context. The model runs in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.rollout.engines.causal_lm import context_limit, evaluating
from deeprec.rollout.engines.limits import portions
from deeprec.rollout.likelihood import last_logits
from deeprec.rollout.title_tree import title_likelihoods, tree_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PASS_TOKENS = 16_384  # tokens in one forward pass, padding included: bounds memory
_PASS_TOKENS_CPU = 2_048  # a processor is a third faster when they fit its cache
Ids = tuple[int, ...]


class Likelihoods:
    """Log-likelihoods by one model, whatever mode it is in. What it says of a row doesn't depend on the rows beside it.

    A context and the longest title behind it must fit into the model's positions.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    @property
    def model(self) -> PreTrainedModel:
        """The model that is asked."""
        return self._model

    @property
    def context_length(self) -> int | None:
        """Tokens that context and title may have together; None where the model doesn't say."""
        return context_limit(self._model)

    def behind(self, rows: Sequence[tuple[Ids, Sequence[Ids]]]) -> list[NDArray[np.float64]]:
        """Natural-log likelihood (P,) of each of a row's titles behind its context: the sum over its tokens."""
        if all(len(title) == 1 for _, titles in rows for title in titles):
            return self._single([context for context, _ in rows], [titles for _, titles in rows])
        found: list[NDArray[np.float64]] = []
        for part in portions([tree_tokens(*row) for row in rows], self._budget):
            with evaluating(self._model):
                found += [
                    values.double().cpu().numpy() for values in title_likelihoods(self._model, rows[part])
                ]
        return found

    def _single(self, contexts: Sequence[Ids], titles: Sequence[Sequence[Ids]]) -> list[NDArray[np.float64]]:
        """Titles of one token need no place of their own: one distribution tells them all."""
        distinct = list(dict.fromkeys(contexts))  # greedy rollouts of one user may end alike
        logits = dict(zip(distinct, self.last_logits(distinct), strict=True))
        found = []
        for context, own in zip(contexts, titles, strict=True):
            logs = torch.log_softmax(logits[context].float(), dim=-1)
            tokens = torch.tensor([token for (token,) in own], dtype=torch.long, device=logs.device)
            found.append(logs[tokens].double().cpu().numpy())
        return found

    def last_logits(self, contexts: Sequence[Ids]) -> list[Tensor]:
        """Logits (V,) after the last token of each context."""
        # By length: passes over neighbours need little padding.
        order = sorted(range(len(contexts)), key=lambda place: len(contexts[place]))
        found: dict[int, Tensor] = {}
        for part in portions([len(contexts[place]) for place in order], self._budget):
            places = order[part]
            with evaluating(self._model):
                logits = last_logits(self._model, [contexts[place] for place in places])
            found.update(zip(places, logits, strict=True))
        return [found[place] for place in range(len(contexts))]

    @property
    def _budget(self) -> int:
        return _PASS_TOKENS_CPU if self._model.device.type == "cpu" else _PASS_TOKENS
