"""The prepared data set in memory: catalogue, interactions, and their split by time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Literal

import polars as pl

from deeprec.data.catalog import Catalog
from deeprec.errors import DataError
from deeprec.types import Example

Part = Literal["fit", "rl", "validation", "test"]
TargetPart = Literal["rl", "validation", "test"]


@dataclass(frozen=True)
class Dataset:
    """Catalogue and interactions, cut by time into fit | rl | validation | test.

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

    @cached_property
    def _users(self) -> dict[str, pl.DataFrame]:
        groups = self.interactions.partition_by("user_id", as_dict=True, maintain_order=True)
        return {str(key[0]): frame for key, frame in groups.items()}

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
        found = []
        for user, frame in self._users.items():
            fit = frame.filter(pl.col("part") == "fit")
            if fit.height:
                found.append(self._example(user, fit, fit.height, None))
        return found

    def known_history(self, user_id: str) -> Example:
        """Everything known of a user, with nothing to predict: what serving starts from."""
        if user_id not in self._users:
            raise DataError(f"unknown user '{user_id}' in data set '{self.name}'")
        frame = self._users[user_id]
        return self._example(user_id, frame, frame.height, None)

    def exclusions(self, example: Example) -> tuple[int, ...]:
        """Items that may not be recommended to this user now."""
        return () if self.allow_repeats else example.history

    def targets_hash(self, part: TargetPart) -> str:
        """Hash of (user, target) pairs: results are comparable only if it agrees."""
        digest = sha256()
        for user, item in (
            self.interactions.filter(pl.col("part") == part).select("user_id", "item_index").iter_rows()
        ):
            digest.update(f"{user}\x1f{self.catalog[item].item_id}\x1e".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything: catalogue, interactions with their parts, user attributes."""
        digest = sha256(self.catalog.fingerprint.encode())
        digest.update(self.interactions.write_csv().encode())
        digest.update(self.users.write_csv().encode())
        return digest.hexdigest()[:16]

    def _user_examples(self, user: str, part: TargetPart) -> list[Example]:
        frame = self._users[user]
        positions = [i for i, value in enumerate(frame["part"].to_list()) if value == part]
        return [self._example(user, frame, position, position) for position in positions]

    def _example(self, user: str, frame: pl.DataFrame, end: int, target: int | None) -> Example:
        past = frame.head(end)
        profile: Mapping[str, str] = self._profiles.get(user, {})
        return Example(
            user_id=user,
            history=tuple(past["item_index"].to_list()),
            target=0 if target is None else int(frame["item_index"][target]),
            ratings=_whole(past["rating"]),
            timestamps=_whole(past["timestamp"]),
            timestamp=None if target is None else frame["timestamp"][target],
            profile=profile,
        )


def _whole(column: pl.Series) -> tuple[float, ...]:
    """The column as numbers, or empty when any is missing: parallel or nothing."""
    return () if column.null_count() else tuple(float(value) for value in column.to_list())
