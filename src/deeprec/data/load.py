"""Tables of a source as our frames: what every reader is made of.

A reader says where its files are and what their columns are called; these functions do the
rest, so that every format understands the same times, ids, numbers and lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import polars as pl

from deeprec.data.columns import ColumnFinder
from deeprec.data.parsing.lines import joined
from deeprec.data.parsing.table import DataFile, Head, TableRows, TextOptions, read_table
from deeprec.data.parsing.text import check_encoding
from deeprec.data.places import Place
from deeprec.data.plans import InteractionPlan, ItemPlan, RowPlan, UserPlan
from deeprec.data.times import TimeColumn
from deeprec.settings import DataConfig

_INTERACTIONS = {"user_id": True, "item_id": True, "timestamp": False, "rating": False}
_ITEMS = {"item_id": True, "title": True, "categories": False, "year": False}


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows of one table under our names, where they stand, and what is to be said of them."""

    rows: pl.DataFrame
    place: Place
    notes: tuple[str, ...]
    items: pl.DataFrame | None = None  # interactions that hold the items, too


def load_interactions(
    files: Sequence[DataFile],
    options: TextOptions,
    columns: ColumnFinder,
    time_form: str | None = None,
    items: ItemPlan | None = None,
    item_columns: ColumnFinder | None = None,
) -> Loaded:
    """Interactions of all files; with `item_columns` the items inside them, as `items` has it."""

    def plan(head: Head) -> InteractionPlan:
        times = TimeColumn(form=time_form)
        if item_columns is None:
            return InteractionPlan(_found(_INTERACTIONS, columns, head), times)
        inside = replace(items or ItemPlan({}), names=_found(_ITEMS, item_columns, head))
        return InteractionPlan(_found(_INTERACTIONS, columns, head), times, inside)

    return load_planned(files, options, plan)


def load_planned(
    files: Sequence[DataFile], options: TextOptions, plan: Callable[[Head], InteractionPlan]
) -> Loaded:
    """Interactions of all files as a plan of the reader's own keeps them."""
    table = read_table(files, options, plan)
    place = _place(files, table)
    rows, notes = table.plan.finish(table, place)
    if not table.plan.items:
        return Loaded(rows, place, (*_about(table, place), *notes))
    first = joined(table.plan.found, str(place)).unique(["item_id"], keep="first", maintain_order=True)
    return Loaded(rows, place, (*_about(table, place), *notes), table.plan.items.finish(first, place))


def load_items(
    files: Sequence[DataFile], options: TextOptions, columns: ColumnFinder, plan: ItemPlan | None = None
) -> Loaded:
    """Items of all files; `plan` without names says how categories and years are read."""
    table = read_table(
        files, options, lambda head: replace(plan or ItemPlan({}), names=_found(_ITEMS, columns, head))
    )
    place = _place(files, table)
    return Loaded(table.plan.finish(table.rows, place), place, _about(table, place))


def load_users(files: Sequence[DataFile], options: TextOptions, columns: ColumnFinder) -> Loaded:
    """Users of all files, each further column an attribute."""

    def plan(head: Head) -> UserPlan:
        user = columns.find("user_id", head, needed=True)
        assert user is not None
        return UserPlan(user, head.names)

    table = read_table(files, options, plan)
    place = _place(files, table)
    return Loaded(table.rows.drop("line"), place, _about(table, place))


def load_rows(files: Sequence[DataFile], options: TextOptions) -> pl.DataFrame:
    """A small table as it stands, behind `line`."""
    return read_table(files, options, lambda head: RowPlan(head.names)).rows


def text_options(config: DataConfig, header: tuple[str, ...] | None = None) -> TextOptions:
    """What the user said about text files.

    A file that is UTF-8 is read as that all the same: one encoding is named for all files, and text in
    another one is practically never valid UTF-8.
    """
    named = check_encoding(config.encoding) if config.encoding else None
    wide = named is not None and named.startswith(("utf-16", "utf-32", "utf-7"))
    encodings = () if named is None else (named,) if wide or named == "utf-8" else ("utf-8", named)
    return TextOptions(config.delimiter, config.quoting, encodings, header)


def _found(wanted: Mapping[str, bool], columns: ColumnFinder, head: Head) -> dict[str, str]:
    found = {name: columns.find(name, head, needed) for name, needed in wanted.items()}
    return {name: theirs for name, theirs in found.items() if theirs is not None}


def _place(files: Sequence[DataFile], table: TableRows[Any]) -> Place:
    name = files[0].place if len(files) == 1 else f"{files[0].place} and {len(files) - 1} more"
    return Place(name, table.starts)


def _about(table: TableRows[Any], place: Place) -> tuple[str, ...]:
    count = table.blank_lines
    blank = f"; {count:,} blank {'line' if count == 1 else 'lines'} skipped" if count else ""
    return (f"{PurePath(place.name).name}: {table.head.kind}{blank}",)
