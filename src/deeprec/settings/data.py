"""Settings of the data set: what is read, and how it is cut."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from deeprec.settings.effect import DATA, PLACE, TRM, changes
from deeprec.settings.section import Fraction, Positive, Section, Seed

_BY_TIME = changes(DATA, when=lambda run: run.data.split == "time")


class SyntheticConfig(Section):
    """Simulated catalogue and users (source `synthetic`)."""

    effect = changes(DATA, when=lambda run: run.data.name == "synthetic")

    seed: Seed = Field(0, description="Seed of the simulation; the run's own seed leaves the data alone.")
    users: Positive = Field(800, description="Number of simulated users.")
    items: Positive = Field(500, description="Number of simulated items.")
    genres: Positive = Field(12, description="Number of genres that items and tastes are made of.")
    interactions_per_user: Positive = Field(30, description="Mean number of interactions of a user.")


# How files of a source are read. They say nothing of a set that was prepared from other files.
FILE_SETTINGS = (
    "columns",
    "item_columns",
    "user_columns",
    "header",
    "item_header",
    "user_header",
    "category_separator",
    "delimiter",
    "quoting",
    "encoding",
    "time_format",
)


class DataConfig(Section):
    """What is read, how it is cut by time, and what the prompt may show."""

    effect = changes(DATA)

    name: str = Field(
        "synthetic",
        description="Data set: a known name, `table` for your own files, or a reader of yours: "
        "`package.module:function`.",
    )
    source: Annotated[str | None, PLACE] = Field(
        None, description="Path of the source; none: download, or simulate."
    )
    items: Annotated[str | None, PLACE] = Field(None, description="For `table`: path of the item file.")
    users: Annotated[str | None, PLACE] = Field(
        None, description="For `table`: path of the user file, if there is one."
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="For `table`: our column name = yours, e.g. {user_id = 'customer', title = 'name'}.",
    )
    item_columns: dict[str, str] = Field(
        default_factory=dict,
        description="The same for the item file alone, where it calls a column otherwise.",
    )
    user_columns: dict[str, str] = Field(
        default_factory=dict,
        description="The same for the user file alone, where it calls a column otherwise.",
    )
    header: tuple[str, ...] | None = Field(
        None, description="Column names of an interaction file whose first line is a row already."
    )
    item_header: tuple[str, ...] | None = Field(None, description="The same for the item file.")
    user_header: tuple[str, ...] | None = Field(None, description="The same for the user file.")
    category_separator: str = Field("|", description="For `table`: what separates categories in one cell.")
    delimiter: str | None = Field(None, description="What separates cells of a text table; none: found out.")
    quoting: Literal["doubled", "backslash", "literal"] | None = Field(
        None,
        description="A quote inside a quoted cell is doubled or follows a backslash, or quotes are characters like "
        "any other; none: found out.",
    )
    encoding: str | None = Field(
        None,
        description="Encoding of text files, e.g. latin-1 or cp1252; none: UTF-8, or UTF-16 where it shows.",
    )
    time_format: str | None = Field(
        None,
        description="How times are written, as for `strptime`, e.g. '%d/%m/%Y'; none: found out (numbers, ISO dates).",
    )
    duplicates: Literal["drop", "keep"] = Field(
        "drop",
        description="Rows with the same user, item and time are one event (`drop`), or several (`keep`).",
    )
    min_user_interactions: Positive = Field(5, description="Users with fewer interactions are dropped.")
    min_item_interactions: Positive = Field(1, description="Items with fewer interactions are dropped.")
    rl_targets: int = Field(3, ge=0, description="Interactions per user held back as RL targets, at most.")
    script_targets: int = Field(
        0,
        ge=0,
        description="Interactions per user before those, held back from the TRM for warm-start scripts, at most.",
    )
    rl_users: Positive | None = Field(
        None, description="Only this many users have RL and script targets; the others' stay in the fit part."
    )
    split: Literal["leave-one-out", "time"] = Field(
        "leave-one-out",
        description="Each user's last interactions are held out (`leave-one-out`), or nothing after a time that "
        "holds for everyone is seen by anything (`time`).",
    )
    time_cuts: Annotated[tuple[date, date, date] | None, _BY_TIME] = Field(
        None,
        description="For `time`: the days (UTC) from which RL, validation and test begin; none: by the shares.",
    )
    time_shares: Annotated[tuple[Fraction, Fraction, Fraction], _BY_TIME] = Field(
        (0.1, 0.1, 0.1),
        description="For `time`: shares of interactions in the windows of RL targets, validation and test, the latest.",
    )
    pseudonyms: bool = Field(
        False,
        description="Whether titles are replaced by made-up ones (years and categories stay): what is left of a "
        "result doesn't come from knowing the titles.",
    )
    allow_repeats: Annotated[bool, changes(DATA, TRM)] = Field(
        False, description="Whether an item of the history may be recommended again."
    )
    unknown_items: Literal["refuse", "drop"] = Field(
        "refuse", description="Interactions with items that the item file lacks: an error, or left out."
    )
    order: Literal["time", "source"] = Field(
        "time",
        description="Sort each user by time, or trust the file's order (going back in time is an error).",
    )
    synthetic: SyntheticConfig = SyntheticConfig()
