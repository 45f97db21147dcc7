"""What validation users say of a policy that is learning to speak: is it valid, and are its lists good?"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from deeprec.data.dataset import Dataset
from deeprec.policy.environment import build_environment
from deeprec.policy.loading import Policy
from deeprec.rl.course import Check, Checked
from deeprec.rl.list_prior import choose_prior, gather_evidence
from deeprec.rl.wish_scripts import validation_wishes
from deeprec.rollout.environment import Environment
from deeprec.run import Run
from deeprec.trm.base import Retriever
from deeprec.trm.training import validation_examples
from deeprec.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

USERS = 800  # validation users at a look, at most: a few seconds


def build_check(run: Run, dataset: Dataset, trm: Retriever, policy: Policy) -> Check | None:
    """What a stage asks of weights like those of `policy`: greedy trajectories of validation users; None without any.

    NDCG@10 is that with the weights of the TRM which suit these users best, as they will be chosen anew at the end.
    Where wishes are learned every second user says one, and those have weights of their own.
    """
    examples = validation_examples(dataset, USERS, seed=0)
    if not examples:
        return None
    wishes = run.config.wishes
    wishing = validation_wishes(dataset, examples[1::2], wishes) if wishes.share else []
    groups = [examples[::2], wishing] if wishing else [examples]
    shown = Policy(deepcopy(policy.model).eval(), policy.tokenizer, policy.codec)
    environment = build_environment(run, dataset, trm, shown)

    def check(model: PreTrainedModel) -> Checked:
        shown.model.load_state_dict(model.state_dict())
        found = [_asked(environment, group) for group in groups]
        sizes = [len(group) for group in groups]
        validity, ndcg = np.average([(one.validity, one.ndcg) for one in found], axis=0, weights=sizes)
        return Checked(float(validity), float(ndcg))

    return check


def _asked(environment: Environment, examples: Sequence[Example]) -> Checked:
    evidence, trajectories = gather_evidence(environment, examples)
    prior, quality = choose_prior(evidence, [example.target for example in examples])
    return Checked(float(np.mean([found.is_valid for found in trajectories])), quality[prior])
