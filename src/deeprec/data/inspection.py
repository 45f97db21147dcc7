"""What a person's files look like to the reader, and the settings that would read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from deeprec.data.columns import Role, guess_columns
from deeprec.data.files import Source
from deeprec.data.guesses import (
    SAMPLE,
    describe_times,
    describe_values,
    guess_encoding,
    guess_header,
    guess_separator,
)
from deeprec.data.parsing.table import DataFile, TextOptions, first_filled, read_sample
from deeprec.data.prepare import READERS
from deeprec.data.raw import RawData, check_raw
from deeprec.data.readers.signs import recognise
from deeprec.data.times import day_of
from deeprec.errors import DataError
from deeprec.settings import DataConfig
from deeprec.toml import to_toml

_LARGE = 256 << 20  # bytes from which a file is not read whole to say what is in it
_EXAMPLES = 3
_ROLES: dict[Role, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id", "timestamp", "rating"),
    "items": ("item_id", "title", "categories", "year"),
    "users": ("user_id",),
}
_NEEDED: dict[Role, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id"),
    "items": ("item_id", "title"),
    "users": ("user_id",),
}
_MAPPINGS: dict[Role, str] = {"interactions": "columns", "items": "item_columns", "users": "user_columns"}


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column: which of ours it is taken for (or empty), what its values are, and the first of them."""

    name: str
    ours: str
    holds: str
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableView:
    """One table: where it is, how it is written, and its columns; what has to be said to read it is in `settings`."""

    role: Role
    place: str
    kind: str
    columns: tuple[ColumnView, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found, the settings that would read it, and what they give.

    `problem`: why they would not read it, or what they still lack; empty where all is well.
    """

    tables: tuple[TableView, ...]
    settings: Mapping[str, Any]
    outcome: tuple[str, ...]
    problem: str

    @property
    def toml(self) -> str:
        """The settings as a TOML file."""
        return to_toml({"data": self.settings})


def inspect_source(path: Path, items: Path | None = None, users: Path | None = None) -> Inspection:
    """Look at a file, a folder or an archive, and at the files of items and users if they are apart.

    Raises DataError for what is no table at all.
    """
    name = recognise(Source(path)) if items is None and users is None else None
    if name is not None:
        settings: dict[str, Any] = {"name": name, "source": str(path.absolute())}
        return _tried((), settings, path)
    tables = _tables(path, items, users)
    tables = {role: tables[role] for role in _ROLES if role in tables}
    views = [_view(role, file, place, _has_own_items(role, tables)) for role, (place, file) in tables.items()]
    settings = {"name": "table"}
    for view in views:  # places first
        settings |= {
            key: value for key, value in view.settings.items() if key in ("source", "items", "users")
        }
    for view in views:
        settings |= view.settings
    lacking = _lacking(views)
    if lacking:
        return Inspection(tuple(views), settings, (), lacking)
    return _tried(tuple(views), settings, tables["interactions"][0])


def _tables(path: Path, items: Path | None, users: Path | None) -> dict[Role, tuple[Path, DataFile]]:
    """The table of each role: as named, else by what the columns of the files in a folder are called."""
    named: dict[Role, Path | None] = {"items": items, "users": users}
    others = {
        role: (place, first_filled(Source(place).whole()))
        for role, place in named.items()
        if place is not None
    }
    try:
        return {"interactions": (path, first_filled(Source(path).whole())), **others}
    except DataError:
        found = _by_columns(path)
        if "interactions" not in found:
            raise
        return {**found, **others}


def _by_columns(path: Path) -> dict[Role, tuple[Path, DataFile]]:
    found: dict[Role, tuple[Path, DataFile]] = {}
    for name in Source(path).members():
        place = path / name
        try:
            file = first_filled(Source(place).whole())
            encoding = guess_encoding(file)
            options = TextOptions(encodings=(encoding,) if encoding else ())
            names = set(guess_columns(read_sample(file, options, 1)[0].names))
        except DataError:
            continue  # a readme, a picture: no table
        if {"user_id", "item_id"} <= names:
            _take_once(found, place, file)
        elif {"item_id", "title"} <= names:
            found.setdefault("items", (place, file))
        elif "user_id" in names:
            found.setdefault("users", (place, file))
    return found


def _take_once(found: dict[Role, tuple[Path, DataFile]], place: Path, file: DataFile) -> None:
    if "interactions" in found:
        raise DataError(
            f"{place.parent}: {found['interactions'][0].name} and {place.name} both look like interactions; name one "
            "of them, or call parts of one table part-1, part-2 and so on, in a folder of their own"
        )
    found["interactions"] = (place, file)


def _has_own_items(role: Role, tables: Mapping[Role, object]) -> bool:
    return role == "interactions" and "items" not in tables


def _view(role: Role, file: DataFile, place: Path, items_inside: bool) -> TableView:
    encoding = guess_encoding(file)
    options = TextOptions(encodings=(encoding,) if encoding else ())
    settings: dict[str, Any] = {_place_setting(role): str(place.absolute())}
    if encoding:
        settings["encoding"] = encoding
    header = guess_header(role, file, options)
    if header:
        settings["header" if role == "interactions" else f"{role[:-1]}_header"] = list(header)
    head, rows = read_sample(file, replace(options, header=header), SAMPLE)
    wanted = _ROLES[role] + (_ROLES["items"][1:] if items_inside else ())
    guessed = guess_columns(head.names, wanted)
    ours = {theirs: name for name, theirs in guessed.items()}
    columns = tuple(_column(rows[name], ours.get(name, ""), rows["line"], file.place) for name in head.names)
    if "categories" in guessed:
        settings |= guess_separator(rows[guessed["categories"]])
    if any(name != theirs for name, theirs in guessed.items()):
        mapping = {
            name: theirs for name, theirs in guessed.items() if theirs != name or role != "interactions"
        }
        settings[_MAPPINGS[role]] = mapping
    return TableView(role, str(place), head.kind, columns, settings)


def _place_setting(role: Role) -> str:
    return "source" if role == "interactions" else role


def _column(cells: pl.Series, ours: str, lines: pl.Series, place: str) -> ColumnView:
    known = cells.drop_nulls()
    examples = tuple(str(value)[:40] for value in known.unique(maintain_order=True).head(_EXAMPLES).to_list())
    if not len(known):
        return ColumnView(cells.name, ours, "nothing", ())
    if ours == "timestamp":
        return ColumnView(cells.name, ours, describe_times(cells, lines, place), examples)
    return ColumnView(cells.name, ours, describe_values(known), examples)


def _lacking(views: Sequence[TableView]) -> str:
    """What the guesses leave open, and where it is said; empty if nothing needed."""
    inside = not any(view.role == "items" for view in views)
    for view in views:
        needed = {
            "interactions": ["user_id", "item_id"],
            "items": ["item_id", "title"],
            "users": ["user_id"],
        }[view.role]
        needed += ["title"] if inside and view.role == "interactions" else []
        known = {column.ours for column in view.columns}
        for name in needed:
            if name not in known:
                free = ", ".join(column.name for column in view.columns if not column.ours)
                apart = "; if items have a file of their own, name it with --items" if name == "title" else ""
                return (
                    f"{view.place}: which column is {name}? Say it with data.{_MAPPINGS[view.role]} = "
                    f'{{{name} = "..."}} (free: {free or "none"}){apart}'
                )
    return ""


def _tried(tables: tuple[TableView, ...], settings: Mapping[str, Any], path: Path) -> Inspection:
    """Read with these settings, unless that takes minutes, and say what comes of it."""
    config = DataConfig.model_validate(settings)
    if sum(file.size for file in _all_files(path)) > _LARGE:
        return Inspection(tables, settings, (f"large: only the first {SAMPLE:,} rows were looked at",), "")
    try:
        raw = READERS[config.name](path, config)
        check_raw(raw)
    except DataError as error:
        return Inspection(tables, settings, (), str(error))
    return Inspection(tables, settings, _outcome(raw), "")


def _all_files(path: Path) -> list[DataFile]:
    source = Source(path)
    return [file for name in source.members() for file in source.table(name)] or source.whole()


def _outcome(raw: RawData) -> tuple[str, ...]:
    """Figures of what would be read."""
    rows = raw.interactions
    lengths = rows.group_by("user_id").len()["len"]
    first, last = rows["timestamp"].min(), rows["timestamp"].max()
    dated = isinstance(first, float) and isinstance(last, float)
    times = f", {day_of(first)} to {day_of(last)}" if dated else ""  # type: ignore[arg-type]
    enough = int((lengths >= 5).sum())
    return (
        f"{raw.rows_read:,} rows of {len(lengths):,} users and {rows['item_id'].n_unique():,} items{times}",
        f"{enough:,} users have 5 rows or more, which a test, a validation and an RL target need",
        *raw.notes,
    )
