"""The columns of the table of methods: what each is called, how it is written, and what is better.

Shared by the terminal, Markdown, LaTeX, the report, and the results page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deeprec.methods import describe, place_of
from deeprec.stages import COLD_START, RECOMMENDATION

Mark = Literal["", "best", "second"]


@dataclass(frozen=True)
class Column:
    """One figure of a method. `short` fits a terminal; `better` says which value is best, "zero": the nearest to 0."""

    key: str
    title: str
    short: str
    format: str
    better: Literal["higher", "lower", "zero"] = "higher"

    def text(self, value: float | None) -> str:
        """How a value is written; `-` for none."""
        return "-" if value is None else f"{value:{self.format}}"

    def order(self, text: str) -> float:
        """Sorts written values, best first."""
        value = float(text)
        return {"higher": -value, "lower": value, "zero": abs(value)}[self.better]


RANKING = (
    Column("recall@1", "Recall@1", "Rec.@1", ".4f"),
    Column("recall@5", "Recall@5", "Rec.@5", ".4f"),
    Column("recall@10", "Recall@10", "Rec.@10", ".4f"),
    Column("ndcg@5", "NDCG@5", "NDCG@5", ".4f"),
    Column("ndcg@10", "NDCG@10", "NDCG@10", ".4f"),
    Column("mrr", "MRR@10", "MRR@10", ".4f"),
)
BEYOND = (
    Column("coverage", "Coverage", "Cover.", ".3f"),
    Column("novelty", "Novelty", "Novelty", ".2f"),
    Column("popularity", "Popularity", "Popul.", ".4f", "lower"),
    Column("popularity_lift", "Popularity lift", "Lift", "+.2f", "zero"),
    Column("diversity", "List diversity", "Divers.", ".3f"),
)
COST = (
    Column("validity", "Valid", "Valid", ".3f"),
    Column("tokens", "LLM tokens", "Tokens", ".1f", "lower"),
    Column("seconds", "Seconds a user", "s/user", ".4f", "lower"),
)
COLUMNS = (*RANKING, *BEYOND, *COST)
BEHAVIOUR_TITLES = {
    "retrievals": "Retrievals", "pool_recall": "Pool recall",
    f"reward/{COLD_START}": "Stage 1 reward", f"reward/{RECOMMENDATION}": "Stage 2 reward",
    f"sampled/{COLD_START}": "Stage 1 reward, sampled", f"sampled/{RECOMMENDATION}": "Stage 2 reward, sampled",
}  # fmt: skip
TITLES = {column.key: column.title for column in COLUMNS} | BEHAVIOUR_TITLES

SEPARATOR = ": "  # between the evaluation and the method, where several evaluations are compared


def method_places(names: Sequence[str]) -> list[str]:
    """The methods from the floor to the ceiling; several evaluations stand one after the other."""
    evaluations = list(dict.fromkeys(name.rpartition(SEPARATOR)[0] for name in names))

    def key(name: str) -> tuple[int, tuple[float, str]]:
        evaluation, _, method = name.rpartition(SEPARATOR)
        return evaluations.index(evaluation), place_of(method)

    return sorted(names, key=key)


def marks(column: Column, texts: Mapping[str, str]) -> dict[str, Mark]:
    """The best and second best methods by their written values, so that what looks equal is marked alike.

    `texts` maps methods to cells; the oracle and empty cells compete for nothing, and where all
    contenders are equal nothing is marked.
    """
    competing = {
        name: column.order(text)
        for name, text in texts.items()
        if text != "-" and not describe(name.rpartition(SEPARATOR)[2]).is_ceiling
    }
    places = sorted(set(competing.values()))
    if len(places) < 2:
        return dict.fromkeys(texts, "")
    named: dict[float, Mark] = {places[0]: "best", places[1]: "second"}
    return {name: named.get(competing[name], "") if name in competing else "" for name in texts}


def p_text(value: float | None) -> str:
    """A p-value in four digits; the smallest that a test of 9,999 permutations gives is 0.0001."""
    return "-" if value is None else f"{value:.4f}"
