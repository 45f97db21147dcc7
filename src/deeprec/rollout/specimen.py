"""A small fixed catalogue with its users: what prompts and scripts are rendered on to tell two versions apart.

Never shown to a policy. Everything that a prompt can show is there: categories, years, ratings, dates, profiles.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache

import polars as pl

from deeprec.config import RolloutConfig
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.rollout.protocol import render_items, render_prompt, render_ranking
from deeprec.rollout.tags import TAGS
from deeprec.types import Example, Item

_TITLES = (
    "Amber",
    "Birch",
    "Cedar",
    "Dill",
    "Elder",
    "Fern",
    "Ginger",
    "Hazel",
    "Ivy",
    "Jasmine",
    "Kale",
    "Laurel",
)
_KINDS = ("Tree", "Herb", "Spice", "a kind whose name is a sentence of its own, as shops write them")
_USERS, _EACH = 6, 9  # users, and their interactions
_MONTH = 30 * 24 * 3600


class Letters:
    """A Codec in which every tag and every other character is a token."""

    eos_id = 0
    tag_ids: Mapping[str, int] = {tag: sys.maxunicode + place for place, tag in enumerate(TAGS.all, 1)}
    _tags = {token: tag for tag, token in tag_ids.items()}  # noqa: RUF012
    _parts = re.compile("|".join(map(re.escape, TAGS.all)) + "|.", re.DOTALL)

    def encode(self, text: str) -> list[int]:
        """Ids of the tags, code points of all else."""
        return [self.tag_ids.get(part) or ord(part) for part in self._parts.findall(text)]

    def encode_prompt(self, text: str, *, chat: bool) -> list[int]:
        """The same: no model expects anything in front."""
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text again."""
        return "".join(self._tags.get(token) or chr(token) for token in ids)


@cache
def specimen() -> Dataset:
    """Twelve items and six users, all in the fit part."""
    items = tuple(
        Item(
            index,
            title.lower(),
            title,
            title,
            (_KINDS[index % 3], *_KINDS[3 : 3 + index % 2]),
            1980 + 3 * index,
        )
        for index, title in enumerate(_TITLES, 1)
    )
    rows = [
        {
            "user_id": f"u{user}",
            "item_index": 1 + (5 * user + 7 * place) % len(items),
            "timestamp": float(1_000_000_000 + (user + 2 * place) * _MONTH),
            "rating": float(1 + (user + place) % 5),
            "part": "fit",
        }
        for user in range(_USERS)
        for place in range(_EACH)
    ]
    schema = {"user_id": pl.String, "item_index": pl.Int32, "timestamp": pl.Float64, "rating": pl.Float32}
    users = pl.DataFrame({"user_id": [f"u{user}" for user in range(_USERS)], "age": ["25-34"] * _USERS})
    return Dataset(
        "specimen", Catalog(items), pl.DataFrame(rows, schema={**schema, "part": pl.String}), users
    )


def rendered(config: RolloutConfig) -> str:
    """A prompt, items of the TRM and a list, as these settings and this version write them."""
    dataset = specimen()
    example: Example = dataset.fit_histories()[0]
    shown = range(1, min(config.retrieved, dataset.catalog.n_items) + 1)
    return "".join(
        (
            render_prompt(example, dataset.catalog, config),
            render_items(shown, dataset.catalog, config.list_fields),
            render_ranking(shown[: config.recommended], dataset.catalog),
        )
    )
