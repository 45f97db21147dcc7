"""The prepared data set in memory: catalogue, interactions, and their split by time."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from typing import Literal

import polars as pl

from deeprec.data.catalog import Catalog
from deeprec.data.files import SourceFile
from deeprec.errors import DataError
from deeprec.types import Example

_SLICE = 1_000_000  # rows
Part = Literal["fit", "lead", "script", "rl", "validation", "gap", "test"]
TargetPart = Literal["script", "rl", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a data set was read from, and how much of it is not in use.

    Every row of the source is in use or counted once among `reader_dropped` (by reason),
    `unknown_items_dropped`, `duplicates_dropped`, `repeats_dropped`, `filtered_dropped` and `later_dropped`.
    """

    files: tuple[SourceFile, ...] = ()
    rows_read: int | None = (
        None  # rows of the interaction source; None in sets prepared before they were counted
    )
    reader_dropped: Mapping[str, int] = field(default_factory=dict)  # by the reader, by reason
    unknown_items_dropped: int = 0  # interactions with items that the catalogue lacks
    duplicates_dropped: int = 0  # interactions that repeat user, item and time of another
    repeats_dropped: int = 0  # later interactions of a user with the same item
    filtered_dropped: int = 0  # interactions of users or items with too few
    users_dropped: int = 0  # users with too few interactions
    items_dropped: int = 0  # listed items with too few (or no) interactions
    later_dropped: int = (
        0  # global time split: interactions after the test time that are nobody's test target
    )
    notes: tuple[str, ...] = ()  # what was found out or taken for granted while reading

    def rows_dropped(self) -> int:
        """Rows of the source that are not in use."""
        counts = (
            self.unknown_items_dropped,
            self.duplicates_dropped,
            self.repeats_dropped,
            self.filtered_dropped,
            self.later_dropped,
        )
        return sum(counts) + sum(self.reader_dropped.values())


@dataclass(frozen=True, slots=True)
class Protocol:
    """How the interactions were cut, and what items are called.

    `cuts` are empty for leave-one-out; for the global time split they are the times (Unix
    seconds) from which RL, validation and test begin. With `pseudonyms` titles are made up.
    """

    cuts: tuple[float, ...] = ()
    pseudonyms: bool = False

    def __str__(self) -> str:
        if self.cuts:
            day = datetime.fromtimestamp(self.cuts[-1], UTC).strftime("%Y-%m-%d %H:%M:%S")
            text = f"global time split, test from {day} UTC, whole catalogue"
        else:
            text = "leave-one-out by time, whole catalogue"
        return f"{text}, titles replaced by pseudonyms" if self.pseudonyms else text


@dataclass(frozen=True, slots=True)
class _UserRows:
    """One user's interactions as plain values, oldest first, and the positions of each part."""

    items: tuple[int, ...]
    ratings: tuple[float, ...]
    timestamps: tuple[float, ...]
    parts: Mapping[str, range]


@dataclass(frozen=True)
class Dataset:
    """Catalogue and interactions, cut by time into fit | script | rl | validation | test.

    The global time split also has `lead` (before `script`) and `gap` (before `test`): rows of the RL and
    validation windows that are no targets, and stand in later histories alone.

    `interactions` is grouped by user and oldest first within one, with the columns
    `user_id` (str), `item_index` (int32), `timestamp` (float64, may be null), `rating`
    (float32, may be null) and `part` (str). `users` has `user_id` and one text column for
    each attribute that the source knows.
    """

    name: str
    catalog: Catalog
    interactions: pl.DataFrame
    users: pl.DataFrame
    allow_repeats: bool = False
    provenance: Provenance = field(default_factory=Provenance, compare=False)
    protocol: Protocol = Protocol()
    withheld: str = ""  # fingerprint of the whole set, where its users were left out of a pushed run

    @cached_property
    def _users(self) -> dict[str, _UserRows]:
        # Plain values once: cutting a data frame per example would take minutes on a large set.
        columns = {name: self.interactions[name].to_list() for name in self.interactions.columns}
        runs = self.interactions["user_id"].rle().struct.unnest()
        found: dict[str, _UserRows] = {}
        start = 0
        for length, user in zip(runs["len"].to_list(), runs["value"].to_list(), strict=True):
            stop = start + length
            found[user] = _UserRows(
                items=tuple(columns["item_index"][start:stop]),
                ratings=_whole(columns["rating"][start:stop]),
                timestamps=_whole(columns["timestamp"][start:stop]),
                parts=_ranges(columns["part"][start:stop]),
            )
            start = stop
        return found

    @cached_property
    def _profiles(self) -> dict[str, dict[str, str]]:
        rows = self.users.to_dicts()
        return {
            row["user_id"]: {k: v for k, v in row.items() if k != "user_id" and v is not None} for row in rows
        }

    @property
    def user_ids(self) -> list[str]:
        """All users, in the order of the data."""
        return list(self._users)

    def examples(self, part: TargetPart) -> list[Example]:
        """One example per target in `part`, by user, then time; the history is all before it."""
        return [example for user in self._users for example in self._user_examples(user, part)]

    def fit_histories(self) -> list[Example]:
        """What a fit may see: each user's `fit` interactions, no target."""
        return [
            self._example(user, rows, rows.parts["fit"].stop, None)
            for user, rows in self._users.items()
            if "fit" in rows.parts
        ]

    def known_history(self, user_id: str) -> Example:
        """Everything known of a user, with nothing to predict: what serving starts from."""
        if self.withheld:
            raise DataError(f"user '{user_id}': {self.without_users()}; give titles (--title)")
        if user_id not in self._users:
            near = difflib.get_close_matches(user_id, self._users, n=3) or list(self._users)[:3]
            hint = ", ".join(f"'{user}'" for user in near)
            raise DataError(
                f"unknown user '{user_id}' in data set '{self.name}'; users are called like {hint}"
            )
        rows = self._users[user_id]
        return self._example(user_id, rows, len(rows.items), None)

    def without_users(self) -> str:
        """Why nobody is here, for errors."""
        return f"data set '{self.name}' is without its users: their histories were left out when the run was pushed"

    def exclusions(self, example: Example) -> tuple[int, ...]:
        """Items that may not be recommended to this user now."""
        return () if self.allow_repeats else example.history

    def targets_hash(self, part: TargetPart) -> str:
        """Hash of (user, target) pairs: results are comparable only if it agrees."""
        targets = self.interactions.filter(pl.col("part") == part)
        items = self.catalog.table["item_id"].gather(targets["item_index"] - 1)
        digest = sha256()
        for user, item in zip(targets["user_id"], items, strict=True):
            digest.update(f"{user}\x1f{item}\x1e".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything: catalogue, interactions with their parts, user attributes."""
        if self.withheld:
            return self.withheld
        digest = sha256(self.catalog.fingerprint.encode())
        for frame in (self.interactions, self.users):
            # In slices, which give the same bytes: the text of a large set would not fit in memory.
            for start in range(0, max(frame.height, 1), _SLICE):
                rows = frame.slice(start, _SLICE).write_csv(include_header=start == 0)
                digest.update(rows.encode())
        return digest.hexdigest()[:16]

    def _user_examples(self, user: str, part: TargetPart) -> list[Example]:
        rows = self._users[user]
        return [self._example(user, rows, position, position) for position in rows.parts.get(part, ())]

    def _example(self, user: str, rows: _UserRows, end: int, target: int | None) -> Example:
        return Example(
            user_id=user,
            history=rows.items[:end],
            target=0 if target is None else rows.items[target],
            ratings=rows.ratings[:end],
            timestamps=rows.timestamps[:end],
            timestamp=None if target is None or not rows.timestamps else rows.timestamps[target],
            profile=self._profiles.get(user, {}),
        )


def _whole(values: list[float | None]) -> tuple[float, ...]:
    """The values, or empty when any is missing: parallel to the items or nothing."""
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else ()


def _ranges(parts: list[str]) -> dict[str, range]:
    """Positions of each part; parts are contiguous, in the order of time."""
    found: dict[str, range] = {}
    start = 0
    for part, run in groupby(parts):
        stop = start + sum(1 for _ in run)
        found[part] = range(start, stop)
        start = stop
    return found
