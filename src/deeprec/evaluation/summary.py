"""Records of an evaluation, as they are kept on disk (evaluation.json)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from deeprec.errors import EvaluationError
from deeprec.evaluation.bootstrap import Difference, Interval
from deeprec.metrics import RANKING_METRICS


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class PoolTurn(_Record):
    """What turns 1 to `turn` retrieved together, beside the TRM's plain top of the same size.

    `recall` is the share of all users whose target is in the pool, `size` the mean pool.
    `plain_recall` is the recall of the TRM's plain top round(size); `matched_recall` gives each
    user a plain top exactly as long as their own pool, and `gain` is recall - matched_recall.
    Users who had fewer turns keep the pool that they had.
    """

    turn: int
    recall: float
    size: float
    plain_recall: float
    matched_recall: float
    gain: Difference


class Dependence(_Record):
    """How much the preferences depend on the user: a policy that asks everyone the same knows nobody.

    Counted over users who wrote at least one preference; all of a user's preferences, in
    order, count as one. `entropy` is in bits; its ceiling is log2(users), `ceiling`.
    """

    users: int
    distinct: int
    commonest: str
    commonest_share: float
    entropy: float
    ceiling: float


class Behaviour(_Record):
    """How a policy behaved over the evaluated users."""

    stop_reasons: dict[str, int]
    turns: dict[int, int]  # number of retrievals -> users
    format_errors: dict[str, int]
    diversity: float | None  # mean of 1 - mean pairwise cosine over users with two preferences or more
    diversity_users: int
    dependence: Dependence | None  # None when nobody wrote a preference
    pool: list[PoolTurn]


class MethodSummary(_Record):
    """One recommender on the evaluated users.

    `metrics` holds the ranking metrics and, for a policy, `validity`, `retrievals`,
    `tokens`, `pool_recall` and the reward parts (`reward/...`), all as means over every user.
    `differences` maps a baseline to the difference of every metric that both have.
    """

    name: str
    metrics: dict[str, Interval]
    differences: dict[str, dict[str, Difference]]
    seconds_per_user: float
    behaviour: Behaviour | None = None

    @property
    def ranking(self) -> dict[str, Interval]:
        """The ranking metrics alone."""
        return {name: self.metrics[name] for name in RANKING_METRICS}


class EvaluationSummary(_Record):
    """Several recommenders on the same users. Comparable to another only if `targets` agrees."""

    dataset: str
    protocol: str
    part: str
    users: int
    sampled: bool  # whether the users are a sample of the part
    without_target: list[str]  # users of the data set that have nothing to predict in this part
    items: int
    k: int
    targets: str
    seed: int
    resamples: int
    methods: dict[str, MethodSummary]
    inputs: str | None = None  # fingerprint of what was evaluated, set when it belongs to a run
    minutes: float = 0.0
    environment: dict[str, Any] = {}

    def method(self, name: str) -> MethodSummary:
        """One method; raises EvaluationError naming those that were evaluated."""
        if name not in self.methods:
            raise EvaluationError(f"method '{name}' was not evaluated; evaluated: {', '.join(self.methods)}")
        return self.methods[name]


def read_summary(file: Path) -> EvaluationSummary:
    """Read an evaluation.json; raises EvaluationError naming the file and what is wrong with it."""
    try:
        return EvaluationSummary.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EvaluationError(f"{file}: no evaluation yet; run `deeprec evaluate --run RUN`") from None
    except (ValidationError, UnicodeDecodeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise EvaluationError(f"{file}: not a usable evaluation ({reason}); evaluate again") from None
