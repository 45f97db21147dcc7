"""MIND: news that people clicked on, of what was shown to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from deeprec.data.columns import KnownColumns
from deeprec.data.dates import DateForm, custom_form
from deeprec.data.files import Source
from deeprec.data.load import load_items, load_planned
from deeprec.data.parsing.table import TextOptions
from deeprec.data.plans import Derived, InteractionPlan, ItemPlan
from deeprec.data.raw import NO_USERS, RawData
from deeprec.data.times import TimeColumn
from deeprec.settings import DataConfig

_BEHAVIOURS = ("impression_id", "user_id", "timestamp", "history", "impressions")
_NEWS = (
    "item_id", "categories", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities",
)  # fmt: skip
_CLICKED = "-1"
_TIMES = "%m/%d/%Y %I:%M:%S %p"  # 11/11/2019 9:05:58 AM
_FIRST = {"user_id": pl.String, "first": pl.Float64}


@dataclass
class _Clicks:
    """Makes one row of each click; counts what else the files list, and when each user was first seen."""

    form: DateForm
    first: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_FIRST))
    shown_only: int = 0
    listed_again: int = 0

    def make(self, rows: pl.DataFrame) -> pl.DataFrame:
        """A user's history, once and in front, then the news clicked on, at the time they were shown."""
        again = rows["user_id"].is_in(self.first["user_id"].implode()) | ~rows["user_id"].is_first_distinct()
        self._note_first(rows)
        earlier = rows.select("line", "user_id", pl.col("history").str.split(" ").alias("item_id"))
        self.listed_again += int(earlier.filter(again)["item_id"].list.len().sum() or 0)
        past = earlier.filter(~again).explode("item_id").drop_nulls("item_id")
        shown = rows.select(
            "line", "user_id", pl.col("impressions").str.split(" ").alias("item_id"), "timestamp"
        )
        shown = shown.explode("item_id").drop_nulls("item_id")
        clicked = shown.filter(pl.col("item_id").str.ends_with(_CLICKED))
        self.shown_only += shown.height - clicked.height
        clicked = clicked.with_columns(pl.col("item_id").str.strip_suffix(_CLICKED))
        past = past.with_columns(pl.lit(None, dtype=pl.String).alias("timestamp"))
        return pl.concat([past, clicked]).sort("line", maintain_order=True)

    def timed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows whose history has the time of the user's first impression."""
        first = self.first.with_columns(pl.col("user_id").cast(pl.Categorical))
        timed = rows.join(first, on="user_id", how="left", maintain_order="left")
        return timed.with_columns(pl.coalesce("timestamp", "first").alias("timestamp")).drop("first")

    def _note_first(self, rows: pl.DataFrame) -> None:
        times = rows.select("user_id", self.form.seconds(rows["timestamp"]).alias("first"))
        joined = pl.concat([self.first, times])
        self.first = joined.group_by("user_id", maintain_order=True).agg(pl.col("first").min())


def read_mind(path: Path, config: DataConfig) -> RawData:
    """`behaviors.tsv` and `news.tsv`, of one part or of several (train and dev) in folders of one.

    Items are the news clicked on. What a user clicked on before has no time: it gets that of the first
    impression, and stays in front of it.
    """
    form = config.time_format or _TIMES
    source, clicks = Source(path), _Clicks(custom_form(form))
    plan = InteractionPlan(
        names={name: name for name in ("user_id", "item_id", "timestamp")},
        times=TimeColumn(form=form),
        derived=Derived(_BEHAVIOURS[1:], clicks.make),
    )
    text = TextOptions("\t", "literal", header=_BEHAVIOURS)
    rows = load_planned(source.all_called("behaviors.tsv"), text, lambda head: plan)
    columns = KnownColumns({name: (name,) for name in ("item_id", "title", "categories")})
    news = load_items(
        source.all_called("news.tsv"), TextOptions("\t", "literal", header=_NEWS), columns, ItemPlan({})
    )
    return RawData(
        name=config.name,
        interactions=clicks.timed(rows.rows),
        items=news.rows.unique(["item_id"], keep="first", maintain_order=True),
        users=NO_USERS,
        interactions_place=rows.place,
        items_place=news.place,
        files=source.files,
        left_out={
            "shown, not clicked": clicks.shown_only,
            "history listed again": clicks.listed_again,
        },
        notes=(
            *rows.notes,
            *news.notes,
            "what users clicked on before has the time of their first impression",
        ),
    )
