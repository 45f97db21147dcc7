"""The user's own tables: text with any delimiter, JSON lines, Parquet or Arrow, with a column mapping."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from deeprec.data.columns import FileColumns, check_names
from deeprec.data.files import Source
from deeprec.data.load import Loaded, load_interactions, load_items, load_users, text_options
from deeprec.data.parsing.table import first_filled, read_sample
from deeprec.data.plans import ItemPlan
from deeprec.data.raw import NO_USERS, RawData
from deeprec.errors import DataError
from deeprec.settings import DataConfig


def read_own_tables(path: Path, config: DataConfig) -> RawData:
    """Interactions at `path`, items at `config.items`, attributes at `config.users`.

    Each is a file, a folder of parts, or a zip archive with one of these. Interactions need
    `user_id` and `item_id`; `timestamp` and `rating` are optional. Items need `item_id` and
    `title`; `categories` and `year` are optional. Without an item file the interactions must
    hold the item columns themselves. `config.columns` maps our names to the files',
    `config.item_columns` and `config.user_columns` to those of one file alone.
    """
    for columns, setting in (
        (config.columns, "data.columns"),
        (config.item_columns, "data.item_columns"),
        (config.user_columns, "data.user_columns"),
    ):
        check_names(columns, setting)
    _check_ids_differ(config.columns)
    _check_mapped(config, path)
    sources = [Source(path)]
    inside = None if config.items else FileColumns("interactions", config.item_columns, config.columns)
    interactions = load_interactions(
        sources[0].whole(),
        text_options(config, config.header),
        FileColumns("interactions", {}, config.columns),
        config.time_format,
        ItemPlan({}, (config.category_separator,)),
        inside,
    )
    items, item_source = _items(config, interactions)
    users, user_source = _users(config)
    sources += [source for source in (item_source, user_source) if source]
    return RawData(
        name=f"table:{path.name.split('.')[0]}",
        interactions=interactions.rows,
        items=items.rows,
        users=users.rows if users else NO_USERS,
        interactions_place=interactions.place,
        items_place=items.place,
        files=tuple(file for source in sources for file in source.files),
        notes=tuple(
            note
            for part in (interactions, items if config.items else None, users)
            if part
            for note in part.notes
        ),
    )


def _check_ids_differ(columns: Mapping[str, str]) -> None:
    """Raise DataError where one column would be who and what."""
    user = columns.get("user_id", "user_id")
    if user == columns.get("item_id", "item_id"):
        raise DataError(f"data.columns: user_id and item_id are both '{user}'; name the column of each")


def _check_mapped(config: DataConfig, path: Path) -> None:
    """Raise DataError for a column in `data.columns` that no file has: where one lacks it, ours is taken."""
    places = (
        (path, "--source", config.header),
        (config.items, "data.items", config.item_header),
        (config.users, "data.users", config.user_header),
    )
    heads = [
        read_sample(
            first_filled(Source(Path(place).expanduser(), option).whole()), text_options(config, header), 1
        )[0]
        for place, option, header in places
        if place is not None
    ]
    names = [name for head in heads for name in head.names]
    for ours, theirs in config.columns.items():
        if theirs not in names:
            near = difflib.get_close_matches(theirs, names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"found: {', '.join(names)}"
            files = " or ".join(head.place for head in heads)
            raise DataError(f"data.columns: {ours} = '{theirs}' is no column of {files}; {hint}")


def _items(config: DataConfig, interactions: Loaded) -> tuple[Loaded, Source | None]:
    if config.items is None:
        assert interactions.items is not None
        return Loaded(interactions.items, interactions.place, ()), None
    source = Source(Path(config.items).expanduser(), "data.items")
    columns = FileColumns("items", config.item_columns, config.columns)
    plan = ItemPlan({}, (config.category_separator,))
    return load_items(source.whole(), text_options(config, config.item_header), columns, plan), source


def _users(config: DataConfig) -> tuple[Loaded | None, Source | None]:
    if config.users is None:
        return None, None
    source = Source(Path(config.users).expanduser(), "data.users")
    columns = FileColumns("users", config.user_columns, config.columns)
    return load_users(source.whole(), text_options(config, config.user_header), columns), source
