"""Verdicts on logged figures, by hand-made rows; real collapses are in tests/pipeline/test_rl_failures.py."""

from __future__ import annotations

import math

import pytest

from deeprec.config import RLConfig
from deeprec.errors import TrainingError
from deeprec.rl.health import CHECKS, Verdict, examine, format_figure, overall
from deeprec.rl.symptoms import refuse_unready, symptoms

HEALTHY = {
    "reward": 1.0,
    "reward/hit": 0.2,
    "validity": 0.9,
    "truncated": 0.05,
    "entropy": 1.1,
    "repetition": 0.01,
    "repeated_lines": 0.1,
    "commonest_preference": 0.05,
    "preference_entropy": 6.0,
    "preference_entropy_share": 0.9,
    "preference_information": 0.2,
    "preference_information_share": 0.1,
    "groups_without_signal": 0.1,
    "clip_fraction": 0.0,
    "retrievals": 2.0,
    "tokens": 50.0,
}


def rows(count: int = 10, **changed: float) -> list[dict]:
    """A stage whose second half has other figures."""
    return [
        {"stage": "cold_start", "step": step, **HEALTHY, **(changed if step > count / 2 else {})}
        for step in range(1, count + 1)
    ]


def verdicts(found) -> dict[str, Verdict]:
    return {finding.figure: finding.verdict for finding in found}


def test_a_healthy_stage_has_nothing_to_watch():
    found = examine([{"stage": "cold_start", "step": 0, "heldout/reward": 1.0}, *rows()], {"hit": 1.0})
    assert set(verdicts(found)) == set(HEALTHY)
    plain = {"preference_entropy", "preference_information"}
    assert all((finding.verdict is Verdict.NONE) == (finding.figure in plain) for finding in found)
    assert not any(finding.advice for finding in found)
    assert overall(found) == "Nothing looks wrong."
    assert found[0].points[0] == (1.0, 1.0)
    assert examine([], {"hit": 1.0}) == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.figure)
def test_each_limit_is_where_it_is_said_to_be(check):
    step = -1e-6 if check.is_low else 1e-6
    begin = check.watch  # how far a figure may move from there has a test of its own
    assert check.judge(begin, check.watch) is Verdict.GOOD
    assert check.judge(begin, check.watch + step) is Verdict.WATCH
    assert check.judge(begin, check.bad) is Verdict.WATCH
    assert check.judge(begin, check.bad + step) is Verdict.BAD
    assert check.judge(begin, math.nan) is Verdict.BAD
    assert f"bad {'below' if check.is_low else 'above'} {check.bad:g}" in check.limits
    found = verdicts(examine(rows(**{check.figure: check.bad + step}), {"hit": 1.0}))
    assert found.pop(check.figure) is Verdict.BAD
    assert set(found.values()) <= {Verdict.GOOD, Verdict.NONE}


@pytest.mark.parametrize("entropy", [0.3, 1.7])
def test_entropy_that_moves_far_is_watched_however_high_it_is(entropy):
    found = examine(rows(entropy=entropy), {"hit": 1.0})
    (finding,) = (finding for finding in found if finding.figure == "entropy")
    assert finding.verdict is Verdict.WATCH
    assert "outside 0.33 to 1.5 times its beginning" in finding.rule
    assert finding.advice
    assert (finding.begin, finding.latest) == (pytest.approx(1.1), pytest.approx(entropy))


@pytest.mark.parametrize(
    ("tokens", "verdict"),
    [
        (76.0, Verdict.WATCH),
        (33.0, Verdict.WATCH),
        (151.0, Verdict.BAD),
        (16.0, Verdict.BAD),
        (74.0, Verdict.GOOD),
    ],
)
def test_length_is_judged_by_the_stage_s_beginning(tokens, verdict):
    assert verdicts(examine(rows(tokens=tokens), {"hit": 1.0}))["tokens"] is verdict


def test_rewards_are_bad_only_when_they_clearly_fall():
    noisy = rows(20)
    for number, row in enumerate(noisy):
        row["reward"] = 1.0 + (-1) ** number * 0.5 - 0.001 * number
        row["reward/hit"] = 0.5 - 0.02 * number
    found = verdicts(examine(noisy, {"hit": 1.0, "rank": 0.0}))
    assert found["reward"] is Verdict.GOOD  # it falls by far less than it scatters
    assert found["reward/hit"] is Verdict.WATCH  # a part may give way to others
    assert "reward/rank" not in found
    for row in noisy:
        row["reward"] = -row["step"]
    assert verdicts(examine(noisy, {}))["reward"] is Verdict.BAD
    noisy[-1]["reward"] = math.nan
    assert verdicts(examine(noisy, {}))["reward"] is Verdict.BAD


def test_preferences_that_nobody_wrote_are_not_called_good():
    found = examine(rows(retrievals=0.0, commonest_preference=0.0), {"hit": 1.0})
    (commonest,) = (finding for finding in found if finding.figure == "commonest_preference")
    assert commonest.verdict is Verdict.BAD
    assert format_figure(commonest.latest) == "-"
    assert format_figure(commonest.begin) == "0.050"
    assert "figures are bad: " in overall(found)
    assert "retrievals per trajectory" in overall(found)


def test_symptoms_of_a_collapse():
    healthy = symptoms(RLConfig())
    assert not any(symptom.shows(HEALTHY) for symptom in healthy)
    assert not any(symptom.shows({}) for symptom in healthy)
    for figure, value in (("validity", 0.04), ("entropy", 0.009), ("repetition", 0.51)):
        ill = [symptom for symptom in healthy if symptom.shows({**HEALTHY, figure: value})]
        assert [symptom.figure for symptom in ill] == [figure]
        assert "lower rl.learning_rate" in ill[0].remedy
    off = symptoms(RLConfig(collapse={}))
    assert off == ()


def test_a_stage_does_not_begin_with_a_policy_that_can_not_speak():
    refuse_unready("cold_start", {"heldout/validity": 0.9}, 0.9)
    refuse_unready("cold_start", {"heldout/x": 1.0}, 0.9)  # nobody asked
    refuse_unready("cold_start", {"heldout/validity": 0.0}, 0.0)
    with pytest.raises(
        TrainingError, match=r"'cold_start': only 71% .* rl\.collapse\.start = 0\.9.*script_steps"
    ):
        refuse_unready("cold_start", {"heldout/validity": 0.712}, 0.9)
