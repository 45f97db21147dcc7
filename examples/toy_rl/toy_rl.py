"""What reinforcement learning does to a language model, seen on one word.

`python examples/toy_rl/toy_rl.py --out FOLDER --seed 0` teaches a tiny policy a language of a few
dozen words, rewards it for one of them in several ways, prints a table and draws FOLDER/toy_rl.html.
README.md beside this file tells how to read both.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from toy_language import (
    RARE,
    UNHEARD,
    Reward,
    occurrences,
    occurrences_less_repeats,
    presence,
    share_with,
    write_sentences,
)
from toy_policy import Step, ToyPolicy

from deeprec.evaluation.charts import Series, line_chart

STEPS = 50
STOP_AT = 0.7  # of the entropy in the first step
LAST = 5  # steps whose mean stands in the table


@dataclass(frozen=True)
class Trial:
    """One policy trained by one reward. Every trial but the warm-started one starts from the same weights."""

    name: str
    word: str
    steps: list[Step]
    moved: float = float("nan")  # largest change of any weight

    def share(self, steps: Iterable[Step]) -> float:
        """Share of texts with the word."""
        return float(np.mean([share_with(self.word, step.texts) for step in steps]))


def run_trials(seed: int, steps: int = STEPS) -> tuple[dict[str, Trial], dict[str, float]]:
    """All trials by name, and how often a text holds the unheard word before and after the warm start."""
    random = np.random.default_rng(seed)
    policy = ToyPolicy(seed)
    policy.teach(write_sentences(2000, random), epochs=8)
    taught = copy.deepcopy(policy.model.state_dict())

    def train(name: str, word: str, reward: Reward, start: dict[str, torch.Tensor] = taught) -> Trial:
        policy.model.load_state_dict(start)
        policy.engine.reseed(seed)
        done = list(policy.reinforce(reward, steps))
        weights = policy.model.state_dict()
        return Trial(name, word, done, max(float((weights[k] - start[k]).abs().max()) for k in start))

    # 1. Learning: every twelfth noun is "cat", and a text with one earns 1.
    trials = [train("cat: presence", RARE, presence(RARE))]

    # 2. Never sampled, never learned: no text holds "zebra", so all earn the same, and nothing moves.
    trials.append(train("zebra: presence", UNHEARD, presence(UNHEARD)))
    expected = {"before": policy.expected(UNHEARD)}
    # Eight sentences about zebras, four times each among others, bring the word within reach.
    examples = 4 * write_sentences(8, random, UNHEARD) + write_sentences(224, random)
    policy.teach([examples[i] for i in random.permutation(len(examples))], epochs=10)
    expected["after"] = policy.expected(UNHEARD)
    warm = copy.deepcopy(policy.model.state_dict())
    trials.append(train("zebra: warm start, presence", UNHEARD, presence(UNHEARD), warm))

    # 3. Degeneration: 1 for each "cat", and texts fill up with them. Two remedies: leave when the
    # entropy has fallen by 30 %, or take 1 off for each word said twice.
    counted = train("cat: count", RARE, occurrences(RARE))
    trials.append(counted)
    trials.append(Trial("cat: count, stopped early", RARE, until_entropy_falls(counted.steps)))
    trials.append(train("cat: count - repeats", RARE, occurrences_less_repeats(RARE)))
    return {trial.name: trial for trial in trials}, expected


def until_entropy_falls(steps: list[Step], share: float = STOP_AT) -> list[Step]:
    """The same run, left at the first step whose entropy is below a share of the first one's."""
    for number, step in enumerate(steps):
        if step.entropy < share * steps[0].entropy:
            return steps[: number + 1]
    return steps


def table(trials: Iterable[Trial]) -> str:
    """First step and mean of the last five, for each trial."""
    lines = [
        f"{'trial':<29}{'steps':>5}{'with the word':>16}{'reward':>15}{'entropy':>15}"
        f"{'distinct':>15}{'whole':>15}{'tied':>7}"
    ]
    for trial in trials:
        first, last = trial.steps[:1], trial.steps[-LAST:]
        cells = [f"{trial.share(first):>7.2f} -> {trial.share(last):.2f}"]
        for field in ("reward", "entropy", "distinct", "whole"):
            before, after = (np.mean([getattr(step, field) for step in part]) for part in (first, last))
            cells.append(f"{before:>6.2f} -> {after:.2f}")
        cells.append(f"{np.mean([step.tied for step in last]):.2f}")
        widths = (16, 15, 15, 15, 15, 7)
        lines.append(
            f"{trial.name:<29}{len(trial.steps):>5}"
            + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        )
    return "\n".join(lines)


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #1c1e21; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem; } figure { margin: 0; }
svg text { font-size: 10px; fill: #5d646e; } .tick-y { text-anchor: end; } .tick-x, .label { text-anchor: middle; }
.grid { stroke: #dfe2e6; } .line { fill: none; stroke-width: 1.8; }
.legend span { margin-right: 1rem; font-size: .85rem; }
.key { display: inline-block; width: .9rem; height: .25rem; margin-right: .3rem; vertical-align: middle; }
pre { overflow-x: auto; font-size: .75rem; }
"""
COLOURS = ("#2458a6", "#c4601d", "#2e8b57", "#9b3fa0")


def draw(trials: dict[str, Trial], text: str) -> str:
    """A page that needs nothing else: four charts over steps, and the table."""
    words = ["cat: presence", "zebra: presence", "zebra: warm start, presence"]
    rewards = ["cat: presence", "cat: count", "cat: count - repeats"]
    charts: list[tuple[str, list[str], Callable[[Trial, Step], float]]] = [
        ("Share of texts with the word", words, lambda trial, step: trial.share([step])),
        ("Entropy (nats a token)", rewards, lambda _, step: step.entropy),
        ("Distinct words / words", rewards, lambda _, step: step.distinct),
        ("Share of texts that are a whole sentence", rewards, lambda _, step: step.whole),
    ]
    figures = []
    for title, names, value in charts:
        lines = [
            Series(name, tuple((n, value(trials[name], step)) for n, step in enumerate(trials[name].steps)))
            for name in names
        ]
        chart = line_chart(lines, "step", title, zero=True)
        figures.append(f"<figure><figcaption>{title}</figcaption>{chart}</figure>")
    colours = "".join(
        f".line.s{n} {{ stroke: {colour}; }} .key.s{n} {{ background: {colour}; }} .dot.s{n} {{ fill: {colour}; }}\n"
        for n, colour in enumerate(COLOURS)
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>One word</title><style>{STYLE}{colours}</style>'
        f"<h1>One word, rewarded</h1><main>{''.join(figures)}</main><pre>{text.replace('>', '&gt;')}</pre></html>\n"
    )


def main(out: Path, seed: int, steps: int = STEPS) -> dict[str, Trial]:
    """Run everything, print the table and an end text of each trial, write the page."""
    started = time.perf_counter()
    torch.set_num_threads(1)  # the model is too small to share out
    trials, expected = run_trials(seed, steps)
    text = table(trials.values())
    print(text)
    print("\nA text of the last step:")
    for trial in trials.values():
        print(f"  {trial.name:<29}{' '.join(trial.steps[-1].texts[0])}")
    print(
        f"\nzebra: {expected['before']:.5f} a text by the model's own probabilities, but never sampled: "
        f"the largest change of a weight is {trials['zebra: presence'].moved:g}. "
        f"After the warm start: {expected['after']:.3f} a text."
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "toy_rl.html").write_text(draw(trials, text), encoding="utf-8")
    print(f"{out / 'toy_rl.html'} ({time.perf_counter() - started:.0f} s)")
    return trials


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/toy-rl"), help="folder for the page")
    parser.add_argument("--seed", type=int, default=0, help="decides sentences, weights and samples")
    arguments = parser.parse_args()
    main(arguments.out, arguments.seed)
