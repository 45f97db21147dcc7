"""Whether what a policy says of a user is true: phrases that its thoughts name, against the history it was shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deeprec.data.catalog import Catalog
from deeprec.trm.phrases import item_phrases, split_phrases, spoken_phrases
from deeprec.types import Example, Trajectory


def true_thoughts(
    trajectories: Sequence[Trajectory], examples: Sequence[Example], catalog: Catalog
) -> float | None:
    """Share of the thoughts naming phrases of the catalogue that name only what the shown history bears.

    None where no thought names a phrase. Case doesn't count; of phrases within each other the longest is meant.
    """
    known = {phrase.casefold() for phrase in spoken_phrases(catalog)}
    if not known:
        return None
    longest_first = sorted(known, key=lambda phrase: (-len(phrase), phrase))
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    told = true = 0
    for trajectory, example in zip(trajectories, examples, strict=True):
        borne = {
            phrase.casefold()
            for item in shown_history(trajectory, example)
            for phrase in item_phrases(catalog[item])
        }
        for turn in trajectory.turns:
            named = set(pattern.findall(turn.thought.casefold()))
            told += bool(named)
            true += bool(named) and named <= borne
    return true / told if told else None


def distinct_within(trajectories: Sequence[Trajectory]) -> float | None:
    """Share of preferences that ask for something which none before them in their trajectory asked for.

    Neither case nor the order of phrases makes it another one. None without preferences.
    """
    asked = new = 0
    for trajectory in trajectories:
        before: set[frozenset[str]] = set()
        for turn in trajectory.turns:
            wanted = frozenset(split_phrases(turn.preference.casefold()))
            new += wanted not in before
            asked += 1
            before.add(wanted)
    return new / asked if asked else None


def shown_history(trajectory: Trajectory, example: Example) -> tuple[int, ...]:
    """The items of the history that the prompt showed: one bulleted line each, the latest ones."""
    lines = sum(line.startswith("- ") for line in trajectory.prompt.splitlines())
    return example.history[len(example.history) - min(lines, len(example.history)) :]
