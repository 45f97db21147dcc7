"""What validation users say of a policy that is learning to speak: is it valid, and are its lists good?"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from deeprec.data.dataset import Dataset
from deeprec.policy.environment import build_environment
from deeprec.policy.loading import Policy
from deeprec.rl.course import Check, Checked
from deeprec.rl.list_prior import choose_prior, gather_evidence
from deeprec.run import Run
from deeprec.trm.base import Retriever
from deeprec.trm.training import validation_examples

if TYPE_CHECKING:
    from transformers import PreTrainedModel

USERS = 800  # validation users at a look, at most: a few seconds


def build_check(run: Run, dataset: Dataset, trm: Retriever, policy: Policy) -> Check | None:
    """What a stage asks of weights like those of `policy`: greedy trajectories of validation users; None without any.

    NDCG@10 is that with the weights of the TRM which suit these users best, as they will be chosen anew at the end.
    """
    examples = validation_examples(dataset, USERS, seed=0)
    if not examples:
        return None
    shown = Policy(deepcopy(policy.model).eval(), policy.tokenizer, policy.codec)
    environment = build_environment(run, dataset, trm, shown)
    targets = [example.target for example in examples]

    def check(model: PreTrainedModel) -> Checked:
        shown.model.load_state_dict(model.state_dict())
        evidence, trajectories = gather_evidence(environment, examples)
        prior, quality = choose_prior(evidence, targets)
        return Checked(float(np.mean([found.is_valid for found in trajectories])), quality[prior])

    return check
