"""The catalogue: item indices, ids, unique labels; the only resolver of written titles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from hashlib import sha256
from typing import Any

import polars as pl

from deeprec.data.cells import changed
from deeprec.data.visible import holds_hidden, visible
from deeprec.types import Item

ITEM_COLUMNS: dict[str, Any] = {
    "item_index": pl.Int32,
    "item_id": pl.String,
    "title": pl.String,
    "label": pl.String,
    "categories": pl.List(pl.String),
    "year": pl.Int32,
}
_SLICE = 1_000_000  # rows

_SPACE = re.compile(r"\s+")
# Angle brackets and pipes build every tag of the protocol; without them no text can forge one.
_TAG_PARTS = str.maketrans({"<": "‹", ">": "›"})
# What is no letter but parts words: controls, line ends, the blank Braille cell.
_BLANK = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u2800]")
# What `clean_text` may change: it leaves printable ASCII without angle brackets and with single spaces as it is.
_NOT_PLAIN = "[^ -;=?-~]|  |^ | $"
# In characters. Chosen so that no item of the known sets changes: their longest title has 841, and a shop that
# takes descriptions for categories has one of 1,757.
LONGEST_TITLE = 1000
LONGEST_CATEGORY = 2000
LONGEST_FACT = 200  # of a user's profile


def clean_text(text: str, most: int | None = None) -> str:
    """One line of visible text in which no tag can stand; what is longer than `most` ends in an ellipsis.

    >>> clean_text("Alien <|end_of_item_list|>\\n  (1979)")
    'Alien ‹|end_of_item_list|› (1979)'
    >>> clean_text("Ali\\u00aden\\U000e0072\\U000e0061"), clean_text("Solaris", most=4)
    ('Alien', 'Sol…')
    """
    cleaned = _SPACE.sub(" ", _BLANK.sub(" ", visible(text)).translate(_TAG_PARTS)).strip()
    # Where it is cut a joiner may have lost its neighbour.
    return cleaned if most is None or len(cleaned) <= most else visible(cleaned[: most - 1].rstrip()) + "…"


def hidden_in(texts: pl.Series) -> pl.Series:
    """Whether each text of a column holds characters that no reader sees."""
    held = texts.fill_null("").set(~texts.fill_null("").str.contains(r"[^\x00-\x7f]"), None)
    return held.map_elements(holds_hidden, return_dtype=pl.Boolean).fill_null(False)


def normal_form(text: str) -> str:
    """What normalizers of tokenizers leave of a text: composed letters (NFKC), without case.

    >>> normal_form("Cafe\u0301 \uff21") == normal_form("CAF\u00c9 a")
    True
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


class Catalog:
    """Items 1 to `n_items` in index order; index 0 is padding.

    Made of items, or of their table (`ITEM_COLUMNS`). What it was not made of, and what items are found by, is made
    when it is first asked for: millions of items cost little until somebody wants them as objects.
    """

    def __init__(self, items: Sequence[Item] | pl.DataFrame) -> None:
        self._made_of = items if isinstance(items, pl.DataFrame) else tuple(items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalog) and self.items == other.items

    def __hash__(self) -> int:
        return hash(self.items)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """`items[i]` is the item with index i + 1; use `catalog[index]`."""
        if not isinstance(self._made_of, pl.DataFrame):
            return self._made_of
        rows = self._made_of.select(list(ITEM_COLUMNS)).iter_rows()
        return tuple(
            Item(index, item_id, title, label, tuple(categories), year)
            for index, item_id, title, label, categories, year in rows
        )

    @cached_property
    def table(self) -> pl.DataFrame:
        """The items as rows, with `ITEM_COLUMNS`."""
        if isinstance(self._made_of, pl.DataFrame):
            return self._made_of
        rows = [
            (i.item_index, i.item_id, i.title, i.label, list(i.categories), i.year) for i in self._made_of
        ]
        return pl.DataFrame(rows, schema=ITEM_COLUMNS, orient="row")

    @cached_property
    def _by_id(self) -> dict[str, int]:
        return {item.item_id: item.item_index for item in self.items}

    @cached_property
    def _by_label(self) -> dict[str, int]:
        return {item.label: item.item_index for item in self.items}

    @cached_property
    def _by_form(self) -> dict[str, int | None]:
        forms: dict[str, int | None] = {}
        for item in self.items:
            form = normal_form(item.label)
            forms[form] = None if form in forms else item.item_index
        return forms

    @property
    def n_items(self) -> int:
        """Number of items, padding not counted."""
        return len(self._made_of)

    def __getitem__(self, item_index: int) -> Item:
        if not 1 <= item_index <= len(self.items):
            raise IndexError(f"item index {item_index} is not between 1 and {len(self.items)}")
        return self.items[item_index - 1]

    def index_of(self, item_id: str) -> int | None:
        """Index of an item id, or None."""
        return self._by_id.get(item_id)

    def resolve(self, line: str) -> int | None:
        """Index of the item whose label is this line, or None. Never a substring match.

        A line that is nobody's label exactly is the one label's that has the same normal form:
        tokenizers lower and compose letters, and their models can't write them otherwise.
        """
        cleaned = clean_text(line)
        exact = self._by_label.get(cleaned)
        return exact if exact is not None else self._by_form.get(normal_form(cleaned))

    def search(self, title: str) -> list[int]:
        """Indices of the items that a person may mean: same label, else same title ignoring case.

        More than one result means that the title is ambiguous.
        """
        exact = self.resolve(title)
        if exact is not None:
            return [exact]
        wanted = clean_text(title).casefold()
        return [
            item.item_index
            for item in self.items
            if wanted in (item.label.casefold(), clean_text(item.title).casefold())
        ]

    @property
    def fingerprint(self) -> str:
        """Hash of ids and labels in order: equal catalogues index alike."""
        digest = sha256()
        for rows in self.table.select("item_id", "label").iter_slices(_SLICE):
            digest.update(
                b"".join(f"{item_id}\x1f{label}\x1e".encode() for item_id, label in rows.iter_rows())
            )
        return digest.hexdigest()[:16]


def build_labels(titles: Sequence[str], item_ids: Sequence[str], years: Sequence[int | None]) -> list[str]:
    """Unique one-line labels of visible text. A title that several items share is told apart by year, then by id.

    >>> build_labels(["Emma", "Emma", "Dune", "Dune"], ["7", "9", "3", "4"], [1996, 2020, None, None])
    ['Emma (1996)', 'Emma (2020)', 'Dune [3]', 'Dune [4]']
    """
    cleaned = pl.Series([clean_text(title, LONGEST_TITLE) for title in titles], dtype=pl.String)
    names = pl.Series([clean_text(item_id, LONGEST_FACT) for item_id in item_ids], dtype=pl.String)
    return _told_apart(cleaned, names, pl.Series(years, dtype=pl.Int32)).to_list()


def label_column(titles: pl.Series, item_ids: pl.Series, years: pl.Series) -> pl.Series:
    """`build_labels` of columns."""
    return _told_apart(clean_column(titles, LONGEST_TITLE), clean_column(item_ids, LONGEST_FACT), years)


def clean_column(texts: pl.Series, most: int | None = None) -> pl.Series:
    """`clean_text` of a column; what is plain ASCII on one line stays as it is."""
    odd = texts.str.contains(_NOT_PLAIN)
    if most is not None:
        odd |= texts.str.len_chars() > most
    return changed(texts, odd, lambda text: clean_text(text, most))


def _told_apart(cleaned: pl.Series, names: pl.Series, years: pl.Series) -> pl.Series:
    """Labels made of clean titles: each differs from all others."""

    def shared(labels: pl.Series) -> pl.Series:
        return _composed(labels).is_duplicated().arg_true()

    def told_by(labels: pl.Series, mark: Callable[[int, str], str]) -> pl.Series:
        rows = shared(labels)
        marked = [mark(row, label) for row, label in zip(rows, labels.gather(rows), strict=True)]
        return labels.clone().scatter(rows, pl.Series(marked, dtype=pl.String)) if marked else labels

    def dated(row: int, label: str) -> str:
        year = years[row]
        return label if year is None or f"({year})" in label else f"{label} ({year})"

    empty = (cleaned == "").arg_true()
    unnamed = pl.Series([f"untitled [{name}]" for name in names.gather(empty)], dtype=pl.String)
    labels = cleaned.clone().scatter(empty, unnamed) if len(empty) else cleaned
    labels = told_by(labels, dated)
    labels = told_by(labels, lambda row, label: f"{label} [{names[row]}]")
    # An id suffix may itself collide with a real title.
    return told_by(labels, lambda row, label: f"{label} [#{row + 1}]")


def _composed(texts: pl.Series) -> pl.Series:
    """What a reader sees, and many tokenizers write: letters and their marks as one."""
    return changed(texts, ~texts.str.contains(r"^[\x00-\x7f]*$"), partial(unicodedata.normalize, "NFC"))
