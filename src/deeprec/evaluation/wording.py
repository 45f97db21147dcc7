"""What an evaluation says, in plain sentences; shared by the terminal and the report."""

from __future__ import annotations

from deeprec.evaluation.bootstrap import Difference, Interval
from deeprec.evaluation.columns import SEPARATOR, method_places
from deeprec.evaluation.summary import EvaluationSummary, MethodSummary
from deeprec.methods import TRM, describe
from deeprec.stages import POLICY_STAGES, RECOMMENDATION, WARM_START

_REWARD, _SAMPLED = f"reward/{RECOMMENDATION}", f"sampled/{RECOMMENDATION}"
STOP_TITLES = {
    "finished": "finished",
    "no_list": "no list",
    "empty_preference": "empty preference",
    "retrieval_limit": "too many retrievals",
    "segment_limit": "segment too long",
    "token_limit": "response too long",
}


def ordered_methods(summary: EvaluationSummary) -> list[MethodSummary]:
    """From the floor to the ceiling, as `methods.METHODS` has them."""
    return [summary.methods[name] for name in method_places(list(summary.methods))]


def final_policy(summary: EvaluationSummary) -> MethodSummary | None:
    """The policy after the last stage that was evaluated; None when there is no policy."""
    for name in reversed(POLICY_STAGES):
        if name in summary.methods:
            return summary.methods[name]
    return None


def title_of(method: str) -> str:
    """How a method is called in tables."""
    evaluation, separator, name = method.rpartition(SEPARATOR)
    return evaluation + separator + describe(name).label


def standing(summary: EvaluationSummary) -> str:
    """One or two sentences: where DeepRec stands against its TRM by NDCG@10."""
    policy = final_policy(summary)
    if policy is None:
        return "No policy was evaluated."
    if TRM not in policy.differences:
        return f"DeepRec reaches NDCG@10 {policy.metrics['ndcg@10'].mean:.4f}; its TRM was not evaluated beside it."
    difference = policy.differences[TRM]["ndcg@10"]
    trm = summary.methods[TRM].metrics["ndcg@10"]
    ours = policy.metrics["ndcg@10"]
    opening = {
        "ahead": "DeepRec is ahead of its TRM",
        "behind": "DeepRec is behind its TRM",
        "no clear difference": "There is no clear difference between DeepRec and its TRM",
    }[difference.verdict]
    return (
        f"{opening}: NDCG@10 is {ours.mean:.4f} against {trm.mean:.4f} on the same {summary.users:,} users, "
        f"a difference of {describe_difference(difference)}."
    )


def learning(summary: EvaluationSummary) -> str | None:
    """Whether stage 2 beats the warm start in stage 2's own reward, greedy and sampled; None if unknown."""
    policy = summary.methods.get(RECOMMENDATION)
    if policy is None or _REWARD not in policy.differences.get(WARM_START, {}):
        return None
    sentences = [_learned(summary, _REWARD, "greedy trajectories")]
    if _SAMPLED in policy.differences[WARM_START]:
        sentences.append(_learned(summary, _SAMPLED, "trajectories sampled as in training"))
    return " ".join(sentences)


def _learned(summary: EvaluationSummary, name: str, what: str) -> str:
    policy = summary.methods[RECOMMENDATION]
    difference = policy.differences[WARM_START][name]
    before = summary.methods[WARM_START].metrics[name]
    verbs = {"ahead": "raised", "behind": "lowered", "no clear difference": "did not clearly change"}
    return (
        f"Reinforcement learning {verbs[difference.verdict]} the reward of stage 2 in {what} of these users: from "
        f"{before.mean:.3f} after the warm start to {policy.metrics[name].mean:.3f}, a difference of "
        f"{describe_difference(difference, 3)}."
    )


def exploring(summary: EvaluationSummary) -> str | None:
    """One sentence: whether steering found more targets than the TRM's plain top of the same size."""
    policy = final_policy(summary)
    if policy is None or policy.behaviour is None or not policy.behaviour.pool:
        return None
    last = policy.behaviour.pool[-1]
    verb = {
        "ahead": "more targets than",
        "behind": "fewer targets than",
        "no clear difference": "about as many targets as",
    }[last.gain.verdict]
    return (
        f"The items that DeepRec retrieved ({last.size:.1f} a user) hold {verb} the TRM's plain top of the same "
        f"length: {last.recall:.1%} against {last.matched_recall:.1%} of the users, a difference of "
        f"{describe_difference(last.gain)}."
    )


def describe_difference(difference: Difference, digits: int = 4) -> str:
    """`+0.0100 (95% interval +0.0050 to +0.0150, +12.0%)`."""
    relative = f", {difference.relative:+.1%}" if difference.relative is not None else ""
    return (
        f"{difference.mean:+.{digits}f} (95% interval {difference.low:+.{digits}f} to "
        f"{difference.high:+.{digits}f}{relative})"
    )


def describe_interval(interval: Interval, digits: int = 4) -> str:
    """`[0.0100, 0.0200]`."""
    return f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def describe_mean(interval: Interval, digits: int = 4) -> str:
    """The mean alone."""
    return f"{interval.mean:.{digits}f}"
