"""The TRM asked by rule: what steering brings without a language model.

The rule holds the latest items of a user against what is usual, and asks for the categories that
stand out. How many items and categories, and what is usual, is chosen on validation. The TRM is
that of the run, so that the difference to `trm` is the preference alone.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path
from typing import Any, Literal

from deeprec import methods
from deeprec.data.dataset import Dataset
from deeprec.disk import read_json
from deeprec.errors import RunError
from deeprec.inputs import constants_of
from deeprec.recommender import Recommender
from deeprec.rivals import tuning
from deeprec.rivals.registry import Rival
from deeprec.rivals.tuning import Settings, choose, tuning_examples, validation_ndcg
from deeprec.run import Run
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.phrases import item_phrases, join_phrases
from deeprec.trm.recommender import TRMRecommender
from deeprec.types import Example, Item

_FILE = "rule.json"
_USUAL: tuple[Literal["everyone", "user"], ...] = ("everyone", "user")
# What is tried on validation.
LATEST = (3, 10)  # items whose categories are held against the usual
PHRASES = (1, 2)  # asked for, at most
LEAST = (
    0.0,
    0.5,
    1.0,
    1.5,
)  # by which a category must stand out: its share times the log of how much that is more
_DAMPING = 1.0  # items that are added to the usual before a share is taken


@dataclass(frozen=True)
class Rule:
    """Ask for the phrases that stand out in the `latest` items of a history, `phrases` of them at most.

    How far one stands out is its share of the latest items times the log of how much larger that is
    than usual: among everyone's items in the fit part, or the user's own whole history. One that stands
    out by no more than `least` is not asked for.
    """

    latest: int
    phrases: int
    usual: Literal["everyone", "user"]
    least: float


class Asker:
    """Makes preferences by a rule."""

    def __init__(
        self, rule: Rule, phrases: Mapping[int, tuple[str, ...]], everyone: Mapping[str, float]
    ) -> None:
        """`phrases` of each item index; `everyone` is the share of fit interactions with each phrase."""
        self.rule = rule
        self._phrases = phrases
        self._everyone = everyone

    def __call__(self, example: Example) -> str | None:
        """The preference, or None where nothing stands out. Never looks at `Example.target`."""
        latest = example.history[-self.rule.latest :]
        found = self._counts(latest)
        usual = self._everyone if self.rule.usual == "everyone" else self._shares(example.history)
        out = {
            phrase: count / len(latest) * log(count / len(latest) / usual[phrase])
            for phrase, count in found.items()
        }
        out = {phrase: by for phrase, by in out.items() if by > self.rule.least}
        best = sorted(out, key=lambda phrase: (-out[phrase], phrase))[: self.rule.phrases]
        return join_phrases(best) if best else None

    def _counts(self, items: tuple[int, ...]) -> Counter[str]:
        return Counter(phrase for item in items for phrase in self._phrases[item])

    def _shares(self, items: tuple[int, ...]) -> dict[str, float]:
        """Share of the items with each phrase, drawn towards everyone's."""
        size = len(items) + _DAMPING
        return {
            phrase: (count + _DAMPING * self._everyone[phrase]) / size
            for phrase, count in self._counts(items).items()
        }


def asked_phrases(item: Item) -> tuple[str, ...]:
    """Categories and decade; a year is too narrow to stand out.

    >>> asked_phrases(Item(1, "a", "Alien", "Alien (1979)", ("Sci-Fi", "Horror"), 1979))
    ('Sci-Fi', 'Horror', '1970s')
    """
    return tuple(phrase for phrase in item_phrases(item) if phrase != str(item.year))


def build_asker(rule: Rule, dataset: Dataset) -> Asker:
    """The rule on a data set; what is usual for everyone is counted in the fit part."""
    phrases = {item.item_index: asked_phrases(item) for item in dataset.catalog.items}
    items = Counter(item for example in dataset.fit_histories() for item in example.history)
    counts: Counter[str] = Counter()
    for item, count in items.items():
        for phrase in phrases[item]:
            counts[phrase] += count
    # Phrases of items that the fit part lacks are as good as never met, not impossible.
    size = items.total() + _DAMPING
    known = {phrase for found in phrases.values() for phrase in found}
    everyone = {phrase: (counts[phrase] + _DAMPING / len(known)) / size for phrase in known}
    return Asker(rule, phrases, everyone)


def _recommender(rule: Rule, dataset: Dataset, trm: ExplorableRetriever) -> TRMRecommender:
    return TRMRecommender(trm, dataset, methods.TRM_ASKED, ask=build_asker(rule, dataset))


def _candidates(run: Run) -> list[Rule]:
    return [
        Rule(latest, phrases, usual, least)
        for latest in LATEST
        for phrases in PHRASES
        for usual in _USUAL
        for least in LEAST
    ]


def _others(run: Run) -> dict[str, Any]:
    return {"constants": constants_of(sys.modules[__name__], tuning)}


def _check(run: Run, dataset: Dataset, trm: ExplorableRetriever) -> None:
    tuning_examples(dataset, 1)


def _fit(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> dict[str, Any]:
    examples = tuning_examples(dataset, tuning.VALIDATION_USERS)
    rules = _candidates(run)

    def tried() -> Iterator[tuple[Settings, Rule]]:
        for rule in rules:
            yield asdict(rule), rule

    choice = choose(
        methods.TRM_ASKED, tried(), lambda rule: _recommender(rule, dataset, trm), examples, len(rules)
    )
    (folder / _FILE).write_text(json.dumps(asdict(choice.model)), encoding="utf-8")
    ask = build_asker(choice.model, dataset)
    return {
        **choice.facts(),
        "not_asked_ndcg@10": round(validation_ndcg(TRMRecommender(trm, dataset), examples), 5),
        "asked_share": round(sum(ask(example) is not None for example in examples) / len(examples), 4),
    }


def _load(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> Recommender:
    file = folder / _FILE
    try:
        rule = Rule(**read_json(file))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"{file}: not readable ({error}); run `deeprec rival fit {methods.TRM_ASKED} --run {run.folder}`"
        ) from None
    return _recommender(rule, dataset, trm)


TRM_ASKED = Rival(
    "the TRM, asked by rule for categories that stand out in the latest items",
    _others,
    _fit,
    _load,
    check=_check,
)
