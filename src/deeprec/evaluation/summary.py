"""Records of an evaluation, as they are kept on disk (evaluation.json)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from deeprec.disk import read_json
from deeprec.errors import EvaluationError
from deeprec.evaluation.bootstrap import Difference, Interval
from deeprec.evaluation.columns import SEPARATOR
from deeprec.metrics import RANKING_METRICS

FORMAT = 3  # raised when an evaluation holds other figures than before
SMALL_SLICE = 100  # users below which an interval is too wide to say much


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
    # Evaluations from before they were measured have neither (evaluation/thoughts.py).
    true_thoughts: float | None = None
    distinct_within: float | None = None


class MethodSummary(_Record):
    """One recommender on the evaluated users.

    `metrics` holds means over users: the ranking metrics, `novelty`, `popularity` and `diversity` of
    the lists, `history_popularity` and `popularity_lift` (evaluation/beyond.py); for a method with a
    language model `validity` and `tokens`; for a policy besides `retrievals`, `pool_recall` and the
    reward parts (`reward/...`). `coverage` belongs to all lists together and has no interval.
    `differences` maps a baseline to the difference of every per-user metric that both have.
    """

    name: str
    metrics: dict[str, Interval]
    differences: dict[str, dict[str, Difference]]
    coverage: float
    seconds_per_user: float
    behaviour: Behaviour | None = None

    @property
    def figures(self) -> dict[str, float]:
        """Every figure of the method by name: the metrics' means, `coverage` and `seconds` per user."""
        means = {name: interval.mean for name, interval in self.metrics.items()}
        return means | {"coverage": self.coverage, "seconds": self.seconds_per_user}

    @property
    def ranking(self) -> dict[str, Interval]:
        """The ranking metrics alone."""
        return {name: self.metrics[name] for name in RANKING_METRICS}


class Slice(_Record):
    """Some of the evaluated users, chosen by their history or target, never by how well they went.

    `metrics` maps method and ranking metric to mean and interval over these users; empty without users.
    """

    name: str
    title: str
    users: int
    metrics: dict[str, dict[str, Interval]]

    @property
    def is_small(self) -> bool:
        """Whether so few users say little."""
        return self.users < SMALL_SLICE


class EvaluationSummary(_Record):
    """Several recommenders on the same users.

    Comparable to another only if data set, protocol, part, k and `part_targets` agree. `targets` is the
    hash of the (user, target) pairs that were evaluated, `part_targets` that of all pairs of the part, by
    user id (so a sample has that of its part).
    """

    format: int = FORMAT
    dataset: str
    protocol: str
    part: str
    users: int
    sampled: bool  # whether the users are only some of the part's
    without_target: list[str]  # users of the data set that have nothing to predict in this part
    few_left: list[str] = []  # users who know so much of the catalogue that fewer than k items are left
    missing: dict[str, list[str]] = {}  # of a comparison: users that one of the evaluations lacks
    items: int
    k: int
    targets: str
    part_targets: str
    seed: int
    resamples: int
    permutations: int
    comparisons: int  # size of the family that Holm's correction is over
    diversity_space: str  # what the vectors of `diversity` are made of
    popularity_base: str  # hash of the fit part's counts, which popularity and novelty are measured with
    left_out: list[str] = []  # of a comparison: columns that were not measured alike
    slices: list[Slice] = []
    methods: dict[str, MethodSummary]
    inputs: str | None = None  # fingerprint of what was evaluated, set when it belongs to a run
    minutes: float = 0.0
    environment: dict[str, Any] = {}

    @property
    def baselines(self) -> list[str]:
        """What methods are held against, in the order in which they were evaluated."""
        held = {name for method in self.methods.values() for name in method.differences}
        return [name for name in self.methods if name in held]

    @property
    def is_comparison(self) -> bool:
        """Whether the methods are those of several evaluations."""
        return any(SEPARATOR in name for name in self.methods)

    def method(self, name: str) -> MethodSummary:
        """One method; raises EvaluationError naming those that were evaluated."""
        if name not in self.methods:
            raise EvaluationError(f"method '{name}' was not evaluated; evaluated: {', '.join(self.methods)}")
        return self.methods[name]


def read_summary(file: Path) -> EvaluationSummary:
    """Read an evaluation.json; raises EvaluationError naming the file and what is wrong with it."""
    try:
        values = read_json(file)
    except FileNotFoundError:
        raise EvaluationError(f"{file}: no evaluation yet; run `deeprec evaluate --run RUN`") from None
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{file}: not a usable evaluation ({error}); evaluate again") from None
    written = format_of(values)
    if written is not None and written != FORMAT:
        raise EvaluationError(
            f"{file}: written in format {written}, this version reads {FORMAT}, which holds further figures; "
            "run `deeprec evaluate` again"
        )
    try:
        return EvaluationSummary.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise EvaluationError(
            f"{file}: not a usable evaluation ('{place}': {problem['msg']}); evaluate again"
        ) from None


def format_of(values: Any) -> int | None:
    """The format that an evaluation's values were written in; None for something else.

    Evaluations up to format 2 did not name it.
    """
    if not isinstance(values, dict) or "methods" not in values:
        return None
    found = values.get("format", 2)
    return found if isinstance(found, int) else None
