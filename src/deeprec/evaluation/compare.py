"""Finished evaluations of several runs or seeds, held against each other on the same users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deeprec.disk import write_atomically
from deeprec.errors import EvaluationError
from deeprec.evaluation.columns import SEPARATOR
from deeprec.evaluation.comparison import Columns, Pair, compare_methods
from deeprec.evaluation.outputs import IDENTITY, PER_USER, SUMMARY, make_folder, write_tables
from deeprec.evaluation.slices import slice_summaries
from deeprec.evaluation.summary import EvaluationSummary, MethodSummary, read_summary

COMPARISON = "comparison.json"
# What must agree, and how it is called.
_SAME = {
    "dataset": "data set",
    "protocol": "protocol",
    "part": "part",
    "k": "length of lists (k)",
    "items": "number of items",
    "part_targets": "targets",
}
# Behind a protocol: the same split under made-up titles. Comparing just that is what it is for.
_RENAMED = ", titles replaced by pseudonyms"
# Columns that compare only where they were measured alike, and what says so.
_MEASURED_WITH = {
    "diversity": "diversity_space",
    "novelty": "popularity_base",
    "popularity": "popularity_base",
    "history_popularity": "popularity_base",
}


@dataclass(frozen=True)
class Evaluated:
    """One finished evaluation: its label in the table, its figures, and its users' rows."""

    label: str
    place: Path
    summary: EvaluationSummary
    rows: pl.DataFrame

    @property
    def users(self) -> set[str]:
        """Whoever was evaluated."""
        return set(self.rows["user_id"])

    def columns(self, method: str, users: Sequence[str], left_out: Iterable[str]) -> Columns:
        """The method's columns on these users, in this order; NaN where a user has no value."""
        rows = self.of(method, users)
        names = [name for name in rows.columns if name not in (*IDENTITY, *left_out)]
        return {
            name: rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
            for name in names
            if rows[name].null_count() < rows.height
        }

    def of(self, method: str, users: Sequence[str]) -> pl.DataFrame:
        """The method's rows of these users, in this order."""
        rows = self.rows.filter(pl.col("method") == method)
        return pl.DataFrame({"user_id": users}).join(rows, on="user_id", how="left", maintain_order="left")


def load_evaluated(places: Sequence[Path]) -> list[Evaluated]:
    """Evaluations from run folders, folders of `deeprec evaluate --to`, or per_user.parquet files in them.

    Raises EvaluationError for a place without an evaluation, one named twice, or files that don't
    belong together.
    """
    folders = [_folder(place) for place in places]
    resolved = [folder.resolve() for folder in folders]
    for place, folder in zip(places, resolved, strict=True):
        if resolved.count(folder) > 1:
            raise EvaluationError(f"{place}: named twice; name evaluations that differ")
    labels = _labels([_named_by(folder) for folder in resolved])
    return [_load(label, folder) for label, folder in zip(labels, folders, strict=True)]


def compare_evaluations(evaluated: Sequence[Evaluated], against: str | None = None) -> EvaluationSummary:
    """All methods of all evaluations on the users they have in common, as one summary.

    Methods are called `LABEL: METHOD`. Each is held against the same method of the first
    evaluation, or everything against the method `against` (of the first evaluation that has it, or
    called by label and method). The same protocol under made-up titles counts as the same. Users
    whom an evaluation lacks are named in `missing`. Raises EvaluationError when the evaluations are
    not of the same targets, data set, protocol, part or k, naming both, or when nothing is left to
    compare.
    """
    if len(evaluated) < 2:
        raise EvaluationError("one evaluation alone can't be compared; name two or more")
    first = evaluated[0]
    for other in evaluated[1:]:
        _check_same(first, other)
    everyone = set().union(*(entry.users for entry in evaluated))
    common = sorted(set.intersection(*(entry.users for entry in evaluated)))
    if not common:
        raise EvaluationError(f"{first.place} and the others have no user in common; evaluate the same users")
    _check_targets(evaluated, common)
    left_out = [
        name
        for name, said_by in _MEASURED_WITH.items()
        if len({getattr(entry.summary, said_by) for entry in evaluated}) > 1
    ]
    per_user = {
        entry.label + SEPARATOR + method: entry.columns(method, common, left_out)
        for entry in evaluated
        for method in entry.summary.methods
    }
    settings = first.summary
    found = compare_methods(
        per_user, _pairs(evaluated, against), settings.resamples, settings.permutations, settings.seed
    )
    return settings.model_copy(
        update={
            "protocol": _protocol(evaluated),
            "users": len(common),
            "sampled": settings.sampled or len(common) < len(everyone),
            "without_target": sorted({user for entry in evaluated for user in entry.summary.without_target}),
            "few_left": sorted(
                {user for entry in evaluated for user in entry.summary.few_left} & set(common)
            ),
            "missing": {
                entry.label: sorted(everyone - entry.users) for entry in evaluated if everyone - entry.users
            },
            "targets": _targets_hash(first, common),
            "comparisons": found.family,
            "slices": slice_summaries(_masks(first, common), per_user, settings.resamples, settings.seed),
            "methods": {
                entry.label + SEPARATOR + method: MethodSummary(
                    name=entry.label + SEPARATOR + method,
                    metrics=found.metrics[entry.label + SEPARATOR + method],
                    differences=found.differences[entry.label + SEPARATOR + method],
                    coverage=_coverage(entry, method, common),
                    seconds_per_user=summary.seconds_per_user,
                )
                for entry in evaluated
                for method, summary in entry.summary.methods.items()
            },
            "inputs": None,
            "left_out": left_out,
        }
    )


def write_comparison(folder: Path, summary: EvaluationSummary) -> None:
    """comparison.json and the tables, in Markdown and LaTeX."""
    make_folder(folder)
    write_tables(folder, summary)
    write_atomically(folder / COMPARISON, summary.model_dump_json(indent=1))


def _folder(place: Path) -> Path:
    """The folder with evaluation.json that `place` means."""
    if place.name in (PER_USER, SUMMARY):
        place = place.parent
    for folder in (place, place / "report"):
        if (folder / SUMMARY).is_file():
            if not (folder / PER_USER).is_file():
                raise EvaluationError(f"{folder}: {SUMMARY} without {PER_USER}; evaluate again")
            return folder
    raise EvaluationError(
        f"{place}: no {SUMMARY} here; name a run that was evaluated, or a folder made by "
        "`deeprec evaluate --to FOLDER`"
    )


def _named_by(folder: Path) -> tuple[str, ...]:
    """The parts of a path that name an evaluation: `report` in a run says nothing."""
    parts = folder.parts
    return parts[:-1] if parts[-1] == "report" and len(parts) > 1 else parts


def _labels(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """The shortest ends of the paths that tell all of them apart."""
    for length in range(1, max(map(len, paths), default=0) + 1):
        labels = ["/".join(parts[-length:]) for parts in paths]
        if len(set(labels)) == len(labels):
            return labels
    return ["/".join(parts) for parts in paths]


def _load(label: str, folder: Path) -> Evaluated:
    summary = read_summary(folder / SUMMARY)
    file = folder / PER_USER
    try:
        rows = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise EvaluationError(f"{file}: can't be read ({error}); evaluate again") from None
    lacking = [name for name in IDENTITY if name not in rows.columns]
    if lacking:
        raise EvaluationError(f"{file}: lacks the column '{lacking[0]}'; evaluate again")
    counts = dict(rows["method"].value_counts().iter_rows())
    if counts != dict.fromkeys(summary.methods, summary.users):
        raise EvaluationError(
            f"{file}: has rows {counts}, {SUMMARY} beside it has {summary.users} users for each of "
            f"{', '.join(summary.methods)}; they are not of one evaluation: evaluate again"
        )
    return Evaluated(label, folder, summary, rows)


def _check_same(first: Evaluated, other: Evaluated) -> None:
    for name, words in _SAME.items():
        ours, theirs = getattr(first.summary, name), getattr(other.summary, name)
        if ours != theirs and not (name == "protocol" and _split(ours) == _split(theirs)):
            raise EvaluationError(
                f"not the same {words}: {first.place} has '{ours}', {other.place} has '{theirs}'; "
                "such results can't be compared"
            )


def _split(protocol: str) -> str:
    return protocol.removesuffix(_RENAMED)


def _protocol(evaluated: Sequence[Evaluated]) -> str:
    """The protocol that all share, and which of them were shown made-up titles."""
    renamed = [entry.label for entry in evaluated if entry.summary.protocol.endswith(_RENAMED)]
    text = _split(evaluated[0].summary.protocol)
    return f"{text}{_RENAMED} in {', '.join(renamed)}" if renamed else text


def _check_targets(evaluated: Sequence[Evaluated], users: Sequence[str]) -> None:
    """The hashes agree; so must the rows."""
    first, *others = [entry.of(next(iter(entry.summary.methods)), users) for entry in evaluated]
    for entry, rows in zip(evaluated[1:], others, strict=True):
        differing = first.filter(first["target"] != rows["target"])
        if differing.height:
            raise EvaluationError(
                f"not the same targets: user '{differing['user_id'][0]}' has another one in {entry.place} than in "
                f"{evaluated[0].place}; evaluate again"
            )


def _pairs(evaluated: Sequence[Evaluated], against: str | None) -> list[Pair]:
    names = [entry.label + SEPARATOR + method for entry in evaluated for method in entry.summary.methods]
    if against is not None:
        found = [name for name in names if against in (name, name.rpartition(SEPARATOR)[2])]
        if not found:
            raise EvaluationError(f"--against {against}: not evaluated; evaluated: {', '.join(names)}")
        return [(name, found[0]) for name in names if name != found[0]]
    first, *others = evaluated
    pairs = [
        (other.label + SEPARATOR + method, first.label + SEPARATOR + method)
        for other in others
        for method in other.summary.methods
        if method in first.summary.methods
    ]
    if not pairs:
        raise EvaluationError(
            f"{first.place} shares no method with the others; name what to compare with by --against, one of: "
            f"{', '.join(names)}"
        )
    return pairs


def _coverage(entry: Evaluated, method: str, users: Sequence[str]) -> float:
    rows = entry.of(method, users)
    if "validity" in rows.columns:  # what is not valid is not counted
        rows = rows.filter(pl.col("validity").fill_null(1.0) > 0)
    listed = rows["ranking"].list.head(entry.summary.k).explode().drop_nulls()
    return listed.n_unique() / entry.summary.items


def _masks(first: Evaluated, users: Sequence[str]) -> dict[tuple[str, str], NDArray[np.bool_]]:
    rows = first.of(next(iter(first.summary.methods)), users)
    return {
        (part.name, part.title): rows["slices"].list.contains(part.name).to_numpy()
        for part in first.summary.slices
    }


def _targets_hash(first: Evaluated, users: Sequence[str]) -> str:
    rows = first.of(next(iter(first.summary.methods)), users)
    digest = sha256()
    for user, target in rows.select("user_id", "target").iter_rows():
        digest.update(f"{user}\x1f{target}\x1e".encode())
    return digest.hexdigest()[:16]
