"""The protocol of simulated wishes: what each method makes of what a user says, kind by kind.

A protocol of its own. Each wish is made from the target's metadata, so that its figures tell how well a
method understands words, and stand in no table beside those of the usual protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from deeprec import metrics
from deeprec.data.dataset import Dataset, TargetPart
from deeprec.errors import EvaluationError
from deeprec.evaluation.bootstrap import Difference, Interval, mean_intervals, paired_differences
from deeprec.evaluation.evaluate import choose_examples, targets_hash
from deeprec.evaluation.markup import escape_markdown
from deeprec.evaluation.per_user import counted_ranking
from deeprec.evaluation.tables import Cell, FigureTable
from deeprec.methods import TRM_MEANT, TRM_WISH, describe, place_of
from deeprec.provenance import environment
from deeprec.recommender import Recommender
from deeprec.trm.base import Retriever
from deeprec.trm.phrases import item_phrases
from deeprec.trm.recommender import TRMRecommender
from deeprec.types import Example
from deeprec.wishes.forms import KINDS, Sentences
from deeprec.wishes.simulated import PROTOCOL, Wish, Wisher, rng_for

MIXTURE, MISLEADING = "mixture", "misleading"
_SAID: Mapping[Sentences, str] = {
    "training": "in the sentences of training",
    "validation": "in sentences that training doesn't use, but that chose what is kept",
    "held-out": "in sentences that are held out from training",
    "new-words": "in words that training doesn't use, where people have others",
}
_NOTE = (
    "every user says one of each kind that can be said of their target. A wish is true of the target, so these figures "
    "stand beside no others; misleading ones are true of another item. The mixture is of all true ones."
)
_TITLES: Mapping[Sentences, str] = {
    "training": ", sentences of training",
    "validation": ", sentences of validation",
    "held-out": "",
    "new-words": ", new words",
}
_SEED = 0  # every run and seed is asked the same wishes


@dataclass(frozen=True, slots=True)
class WishFigures:
    """What one method reaches with wishes of one kind.

    `broken` is the share of listed items that bear what was excluded, `to_words` the difference in NDCG to the
    TRM asked with the words as they are, the same wishes side by side.
    """

    method: str
    kind: str
    users: int
    ndcg: Interval
    recall: Interval
    broken: float | None = None
    to_words: Difference | None = None


@dataclass(frozen=True)
class Asked:
    """The wishes of one kind, and the examples that carry them; parallel."""

    kind: str
    examples: tuple[Example, ...]
    wishes: tuple[Wish, ...]


def ask_all(dataset: Dataset, examples: Sequence[Example], which: Sentences = "held-out") -> list[Asked]:
    """Each kind of wish by every user who can say one, then misleading ones of any kind.

    Kinds that nobody can say are left out.
    """
    wisher = Wisher(dataset)
    makers: dict[str, Callable[[Example], Wish | None]] = {
        kind: partial(_true_wish, wisher, kind, which) for kind in KINDS
    }
    makers[MISLEADING] = partial(_misleading_wish, wisher, which)
    found = []
    for kind, make in makers.items():
        said = [(example, wish) for example in examples if (wish := make(example)) is not None]
        if said:
            asking = tuple(replace(example, wish=wish.text) for example, wish in said)
            found.append(Asked(kind, asking, tuple(wish for _, wish in said)))
    return found


def _true_wish(wisher: Wisher, kind: str, which: Sentences, example: Example) -> Wish | None:
    return wisher.wish(example, rng_for(_SEED, example, kind), kind, which=which)


def _misleading_wish(wisher: Wisher, which: Sentences, example: Example) -> Wish | None:
    return wisher.wish(example, rng_for(_SEED, example, MISLEADING), which=which, misleading=True)


def evaluate_wishes(
    recommenders: Mapping[str, Recommender],
    dataset: Dataset,
    retriever: Retriever,
    part: TargetPart,
    *,
    k: int = metrics.CUT,
    users: int | None = None,
    resamples: int = 2000,
    which: Sentences = "held-out",
) -> list[WishFigures]:
    """Every method on the same wishes, in these sentences; those that don't hear wishes are asked without.

    The TRM told the phrases meant is the ceiling.
    Raises EvaluationError where nobody can say anything (a catalogue without categories and years).
    """
    examples, _ = choose_examples(dataset, part, users, _SEED)
    asked = ask_all(dataset, examples, which)
    if not asked:
        raise EvaluationError(
            f"data set '{dataset.name}': its catalogue has no categories or years to wish for"
        )
    meant = {
        (example.user_id, example.wish): wish.meant
        for one in asked
        for example, wish in zip(one.examples, one.wishes, strict=True)
    }
    told = TRMRecommender(
        retriever, dataset, TRM_MEANT, ask=lambda example: meant[example.user_id, example.wish]
    )
    everybody = {**recommenders, TRM_MEANT: told}
    columns = {name: _columns(found, asked, dataset, k) for name, found in everybody.items()}
    names = sorted(columns, key=place_of)
    figures = [
        _figures(name, kind, columns, resamples)
        for kind in (*(one.kind for one in asked), MIXTURE)
        for name in names
    ]
    return [one for one in figures if one is not None]


Columns = dict[str, NDArray[np.float64]]  # ndcg, recall, broken (NaN where nothing was excluded), each (U,)


def _columns(found: Recommender, asked: Sequence[Asked], dataset: Dataset, k: int) -> dict[str, Columns]:
    """Per kind, and for the mixture of all true ones."""
    columns: dict[str, Columns] = {}
    for one, rankings in zip(asked, _rankings(found, asked, k), strict=True):
        rows = [
            row_of(ranking, example.target, wish, dataset)
            for ranking, example, wish in zip(rankings, one.examples, one.wishes, strict=True)
        ]
        values = np.array(rows, dtype=np.float64)
        columns[one.kind] = dict(zip(("ndcg", "recall", "broken"), values.T, strict=True))
    true = [values for kind, values in columns.items() if kind != MISLEADING]
    columns[MIXTURE] = {name: np.concatenate([values[name] for values in true]) for name in true[0]}
    return columns


def _rankings(found: Recommender, asked: Sequence[Asked], k: int) -> list[list[tuple[int, ...]]]:
    """Of each kind of wish; who doesn't hear them is asked once for each user and target."""
    hears = found.name == TRM_MEANT or describe(found.name).hears_wish
    if hears:
        return [[counted_ranking(answer)[:k] for answer in found.recommend(one.examples, k)] for one in asked]
    silent = {
        (example.user_id, example.target): replace(example, wish="")
        for one in asked
        for example in one.examples
    }
    answers = dict(zip(silent, found.recommend(list(silent.values()), k), strict=True))
    return [
        [counted_ranking(answers[example.user_id, example.target])[:k] for example in one.examples]
        for one in asked
    ]


def row_of(ranking: Sequence[int], target: int, wish: Wish, dataset: Dataset) -> tuple[float, float, float]:
    """Of one list: NDCG, recall, and the share of it that bears what was excluded (NaN where nothing was)."""
    broken = np.nan
    if wish.excluded and ranking:
        broken = float(np.mean([wish.excluded in item_phrases(dataset.catalog[item]) for item in ranking]))
    size = max(len(ranking), 1)
    ranks = metrics.ranks_in_lists([ranking], [target], size)
    return float(metrics.ndcg(ranks, size)[0]), float(metrics.recall(ranks, size)[0]), broken


def _figures(
    name: str, kind: str, columns: Mapping[str, Mapping[str, Columns]], resamples: int
) -> WishFigures | None:
    own = columns[name].get(kind)
    if own is None:
        return None
    both = np.stack([own["ndcg"], own["recall"]], axis=1)
    ndcg, recall = mean_intervals(both, resamples, _SEED)
    words = columns.get(TRM_WISH, {}).get(kind)
    difference = None
    if words is not None and name != TRM_WISH:
        difference = paired_differences(own["ndcg"][:, None], words["ndcg"][:, None], resamples, _SEED)[0]
    broken = own["broken"][~np.isnan(own["broken"])]
    return WishFigures(
        method=name,
        kind=kind,
        users=len(both),
        ndcg=ndcg,
        recall=recall,
        broken=float(broken.mean()) if len(broken) else None,
        to_words=difference,
    )


def wish_table(
    summary: Sequence[WishFigures],
    dataset: Dataset,
    part: TargetPart,
    *,
    users: int | None,
    k: int,
    command: str,
    which: Sentences = "held-out",
) -> FigureTable:
    """NDCG by method and kind; the mixture held against the TRM asked with the words; what becomes of exclusions.

    `users` and `which` are as `evaluate_wishes` was given them.
    """
    examples, is_sample = choose_examples(dataset, part, users, _SEED)
    kinds = tuple(dict.fromkeys(one.kind for one in summary))
    methods = list(dict.fromkeys(one.method for one in summary))
    found = {(one.method, one.kind): one for one in summary}
    about = environment()
    return FigureTable(
        dataset=dataset.name,
        title=f"Simulated wishes by kind{_TITLES[which]}: NDCG@{k}, {part}",
        note=f"Protocol: {PROTOCOL}, {_SAID[which]}; {_NOTE}",
        part=part,
        targets=targets_hash(dataset, part, examples, is_sample),
        users=len(examples),
        seed=_SEED,
        columns=(
            "Method",
            *kinds,
            f"{MIXTURE}, difference to the words as they are",
            "listed, though excluded",
        ),
        rows=tuple(
            (
                label_of(name),
                *(round(found[name, kind].ndcg.mean, 4) for kind in kinds),
                _difference(found[name, MIXTURE].to_words),
                _share(found[name, MIXTURE].broken),
            )
            for name in methods
        ),
        command=command,
        machine=about["machine"],
        commit=about["commit"],
        versions=about["versions"],
    )


def label_of(method: str) -> str:
    """What tables call a method of this protocol."""
    return "TRM told the phrases meant (ceiling)" if method == TRM_MEANT else describe(method).label


def _difference(found: Difference | None) -> str | None:
    return None if found is None else f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _share(found: float | None) -> str | None:
    return None if found is None else f"{100 * found:.1f} %"


def table_markdown(table: FigureTable) -> str:
    """A table as Markdown, with its title and note."""
    lines = [f"### {table.title}", "", f"{table.dataset}, {table.users} users. {table.note}", ""]
    lines += [_line(table.columns), f"|---|{'---:|' * (len(table.columns) - 1)}", *map(_line, table.rows)]
    return "\n".join([*lines, ""])


def _line(cells: Sequence[Cell]) -> str:
    texts = [
        "" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells
    ]
    return f"| {' | '.join(map(escape_markdown, texts))} |"
