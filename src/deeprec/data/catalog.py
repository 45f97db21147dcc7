"""The catalogue: item indices, ids, unique labels; the only resolver of written titles."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from deeprec.data.visible import visible
from deeprec.types import Item

_SPACE = re.compile(r"\s+")
# Angle brackets and pipes build every tag of the protocol; without them no text can forge one.
_TAG_PARTS = str.maketrans({"<": "‹", ">": "›"})
# What is no letter but parts words: controls, line ends, the blank Braille cell.
_BLANK = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u2800]")
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


def normal_form(text: str) -> str:
    """What normalizers of tokenizers leave of a text: composed letters (NFKC), without case.

    >>> normal_form("Cafe\u0301 \uff21") == normal_form("CAF\u00c9 a")
    True
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True)
class Catalog:
    """Items 1 to `n_items` in index order; index 0 is padding.

    `items[i]` is the item with index i + 1; use `catalog[index]`.
    """

    items: tuple[Item, ...]
    _by_id: dict[str, int] = field(init=False, repr=False, compare=False)
    _by_label: dict[str, int] = field(init=False, repr=False, compare=False)
    _by_form: dict[str, int | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {item.item_id: item.item_index for item in self.items})
        object.__setattr__(self, "_by_label", {item.label: item.item_index for item in self.items})
        forms: dict[str, int | None] = {}
        for item in self.items:
            form = normal_form(item.label)
            forms[form] = None if form in forms else item.item_index
        object.__setattr__(self, "_by_form", forms)

    @property
    def n_items(self) -> int:
        """Number of items, padding not counted."""
        return len(self.items)

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
        for item in self.items:
            digest.update(f"{item.item_id}\x1f{item.label}\x1e".encode())
        return digest.hexdigest()[:16]


def build_labels(titles: Sequence[str], item_ids: Sequence[str], years: Sequence[int | None]) -> list[str]:
    """Unique one-line labels of visible text. A title that several items share is told apart by year, then by id.

    >>> build_labels(["Emma", "Emma", "Dune", "Dune"], ["7", "9", "3", "4"], [1996, 2020, None, None])
    ['Emma (1996)', 'Emma (2020)', 'Dune [3]', 'Dune [4]']
    """
    names = [clean_text(item_id, LONGEST_FACT) for item_id in item_ids]
    cleaned = [
        clean_text(title, LONGEST_TITLE) or f"untitled [{name}]"
        for title, name in zip(titles, names, strict=True)
    ]
    labels = list(cleaned)
    shared = _counted(labels)
    for position, (label, year) in enumerate(zip(cleaned, years, strict=True)):
        if shared[_composed(label)] > 1 and year is not None and f"({year})" not in label:
            labels[position] = f"{label} ({year})"
    shared = _counted(labels)
    for position, label in enumerate(labels):
        if shared[_composed(label)] > 1:
            labels[position] = f"{label} [{names[position]}]"
    shared = _counted(labels)
    for position, label in enumerate(labels):  # an id suffix may itself collide with a real title
        if shared[_composed(label)] > 1:
            labels[position] = f"{label} [#{position + 1}]"
    return labels


def _composed(text: str) -> str:
    """What a reader sees, and many tokenizers write: letters and their marks as one."""
    return unicodedata.normalize("NFC", text)


def _counted(labels: Sequence[str]) -> Counter[str]:
    return Counter(map(_composed, labels))
