"""The toy that teaches, run for real: each claim of examples/toy_rl/README.md is checked on its figures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "toy_rl"
MODULES = ("toy_rl", "toy_policy", "toy_language")


@dataclass(frozen=True)
class Done:
    trials: dict[str, Any]
    printed: str
    page: str

    def last(self, name: str, field: str) -> float:
        """Mean of a figure over the last five steps of a trial."""
        return float(np.mean([getattr(step, field) for step in self.trials[name].steps[-5:]]))

    def share(self, name: str, steps: slice) -> float:
        trial = self.trials[name]
        return float(trial.share(trial.steps[steps]))


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        import toy_rl

        yield toy_rl
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def done(example: Any, tmp_path_factory: pytest.TempPathFactory) -> Done:
    out = tmp_path_factory.mktemp("toy") / "new"
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *words: lines.append(" ".join(map(str, words))))
        trials = example.main(out, seed=0)
    torch.set_num_threads(threads)
    return Done(trials, "\n".join(lines), (out / "toy_rl.html").read_text(encoding="utf-8"))


START, END = slice(0, 1), slice(-5, None)


def test_a_rewarded_word_is_learned(done: Done) -> None:
    assert done.share("cat: presence", START) < 0.5
    assert done.share("cat: presence", END) > 0.95


def test_a_word_that_is_never_sampled_is_never_learned(done: Done, example: Any) -> None:
    trial = done.trials["zebra: presence"]
    assert [step.reward for step in trial.steps] == [0.0] * example.STEPS
    assert [step.tied for step in trial.steps] == [1.0] * example.STEPS
    assert trial.moved == 0.0  # no signal: not a single weight changes
    assert done.trials["cat: presence"].moved > 0.01  # where there is one, they do


def test_a_few_examples_make_it_learnable(done: Done) -> None:
    assert 0.0 < done.share("zebra: warm start, presence", START) < 0.3
    assert done.share("zebra: warm start, presence", END) > 0.9


def test_a_reward_for_each_occurrence_degenerates_into_repetition(done: Done) -> None:
    first = done.trials["cat: count"].steps[0]
    assert done.last("cat: count", "reward") > 6  # the reward alone looks splendid
    assert done.last("cat: count", "entropy") < 0.75 * first.entropy
    assert done.last("cat: count", "distinct") < 0.5 * first.distinct
    assert first.whole > 0.9
    assert done.last("cat: count", "whole") < 0.2


@pytest.mark.parametrize("remedy", ["cat: count, stopped early", "cat: count - repeats"])
def test_what_prevents_it_keeps_the_word_and_the_language(done: Done, remedy: str) -> None:
    assert done.share(remedy, END) > 0.9
    assert done.last(remedy, "whole") > 0.85
    assert done.last(remedy, "distinct") > done.last("cat: count", "distinct") + 0.2


def test_the_early_stop_leaves_the_same_run(done: Done) -> None:
    stopped, whole = done.trials["cat: count, stopped early"].steps, done.trials["cat: count"].steps
    assert 5 < len(stopped) < len(whole) - 10
    assert stopped == whole[: len(stopped)]


def test_what_is_printed_and_drawn(done: Done) -> None:
    for name in done.trials:
        assert f"\n{name}" in done.printed
    assert done.page.count("<svg") == 4
    assert done.page.count("<polyline") == 12  # three lines a chart
    assert "<script" not in done.page
    assert done.printed.split("\n\n", 1)[0].splitlines()[-1].replace(">", "&gt;") in done.page


def test_the_loss_clips_and_leaves_unsampled_tokens_alone(example: Any) -> None:
    """Two texts of three tokens; the last token of each was not sampled."""
    from toy_policy import clipped_loss

    old = torch.zeros(2, 3)
    ratios = torch.tensor([[1.5, 1.0, 9.0], [0.5, 1.5, 9.0]])
    logprobs = ratios.log().requires_grad_()
    advantages = torch.tensor([[1.0], [-1.0]]).expand(2, 3)
    loss = clipped_loss(logprobs, old, advantages, torch.tensor([[1.0, 1, 0], [1, 1, 0]]))
    # Gains: 1.28 (clipped), 1.0; -0.8 (clipped), -1.5 (a worse text may always be pushed down).
    assert loss.item() == pytest.approx(-(1.28 + 1.0 - 0.8 - 1.5) / 4, abs=1e-6)
    loss.backward()
    assert logprobs.grad is not None
    expected = [[0.0, -0.25, 0.0], [0.0, 1.5 / 4, 0.0]]
    assert logprobs.grad.tolist() == [pytest.approx(row) for row in expected]


def test_rewards_and_measures(example: Any) -> None:
    import toy_language as language

    sentence = ["the", "old", "cat", "sees", "cat", ",", "owl", ".", "<end>"]
    assert language.presence("cat")(sentence) == 1
    assert language.presence("zebra")(sentence) == 0
    assert language.occurrences("cat")(sentence) == 2
    assert language.occurrences_less_repeats("cat")(sentence) == 1
    assert language.distinct_share([sentence, ["cat", "cat"]]) == pytest.approx((8 / 9 + 1 / 2) / 2)
    assert language.whole_share([sentence, sentence[:-1], ["cat", *sentence]]) == pytest.approx(1 / 3)
    random = np.random.default_rng(0)
    written = language.write_sentences(200, random)
    assert language.whole_share(written) == 1
    assert language.share_with(language.RARE, written) > 0.1
    assert language.share_with(language.UNHEARD, written) == 0
    assert all(
        words[1] == "zebra" or words[2] == "zebra" for words in language.write_sentences(20, random, "zebra")
    )
