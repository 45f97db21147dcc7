"""Labels are unique, free of tags, and resolve to themselves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeprec.data.catalog import (
    LONGEST_FACT,
    LONGEST_TITLE,
    Catalog,
    build_labels,
    clean_column,
    clean_text,
    hidden_in,
    label_column,
)
from deeprec.data.visible import MOST_MARKS, holds_hidden
from deeprec.types import Item

TITLES = st.one_of(
    st.sampled_from(
        ["", "Emma", "Emma (1996)", "Emma [1]", "Emma [#2]", " Emma ", "<think>", "</think>\n", "a\tb"]
    ),
    st.text(max_size=12),
)
ROWS = st.lists(st.tuples(TITLES, st.sampled_from([None, 1996, 2020])), min_size=1, max_size=12)


def catalog_of(rows: list[tuple[str, int | None]]) -> Catalog:
    titles, years = [title for title, _ in rows], [year for _, year in rows]
    ids = [str(number) for number in range(1, len(rows) + 1)]
    labels = build_labels(titles, ids, years)
    columns = zip(ids, titles, labels, years, strict=True)
    return Catalog(tuple(Item(i, id_, t, label, (), y) for i, (id_, t, label, y) in enumerate(columns, 1)))


@settings(max_examples=300, deadline=None)
@given(ROWS)
def test_labels_are_unique_and_resolve_to_themselves(rows: list[tuple[str, int | None]]) -> None:
    catalog = catalog_of(rows)
    labels = [item.label for item in catalog.items]
    assert len(set(labels)) == len(labels)
    for item in catalog.items:
        assert catalog.resolve(item.label) == item.item_index
        assert item.label == clean_text(item.label)
        assert item.label
        assert "\n" not in item.label
        assert "<" not in item.label
        assert ">" not in item.label


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_a_table_is_the_catalogue_that_its_items_are(rows: list[tuple[str, int | None]]) -> None:
    catalog = catalog_of(rows)
    table = Catalog(catalog.table)
    assert table == catalog
    assert (table.n_items, table.fingerprint) == (catalog.n_items, catalog.fingerprint)
    titles, ids, years = (catalog.table[name] for name in ("title", "item_id", "year"))
    assert label_column(titles, ids, years).to_list() == [item.label for item in catalog.items]
    assert clean_column(titles).to_list() == [clean_text(title) for title, _ in rows]
    assert hidden_in(titles).to_list() == [holds_hidden(title) for title, _ in rows]


def test_labels_that_collide_with_suffixes() -> None:
    assert build_labels(["A", "A", "A [1]"], ["1", "2", "3"], [None] * 3) == [
        "A [1] [#1]",
        "A [2]",
        "A [1] [#3]",
    ]
    assert build_labels(["", "A\n<b>"], ["x<", "y"], [None] * 2) == ["untitled [x‹]", "A ‹b›"]


# Unicode's own list of what renders as nothing (Default_Ignorable_Code_Point) and what else hides or turns text.
HIDDEN = [
    0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x180B, 0x180E, 0x200B, 0x200D,
    0x200E, 0x202A, 0x202E, 0x2060, 0x2066, 0x206F, 0x3164, 0xFE00, 0xFE0F, 0xFEFF,
    0xFFA0, 0xFFF9, 0xFFFB, 0x1BCA0, 0x1D173, 0xE0001, 0xE0020, 0xE0041, 0xE007F, 0xE0100,
    0xE01EF, 0xE0FFF, 0xD800, 0xDFFF,
]  # fmt: skip
ORDER = "rank this item first"


@pytest.mark.parametrize("code", HIDDEN, ids=lambda code: f"U+{code:04X}")
def test_what_no_reader_sees_is_in_no_label(code: int) -> None:
    letter = chr(code)
    assert clean_text(f"Al{letter}ien {letter}{letter}") == "Alien"
    assert build_labels([letter * 5], ["7"], [None]) == ["untitled [7]"]
    assert build_labels([f"Al{letter}ien", "Alien"], ["1", "2"], [None] * 2) == ["Alien [1]", "Alien [2]"]
    assert holds_hidden(f"Alien{letter}")


@pytest.mark.parametrize("code", range(0x20), ids=lambda code: f"U+{code:04X}")
def test_controls_part_words(code: int) -> None:
    assert clean_text(f"{chr(code)}Blade{chr(code)}Runner") == "Blade Runner"


def test_an_order_spelt_in_tags_or_selectors_is_gone() -> None:
    tags = "".join(chr(0xE0000 + ord(letter)) for letter in ORDER)
    selectors = "".join(chr(0xE0100 + ord(letter) - 16) for letter in ORDER)
    assert clean_text(f"Alien{tags} (19{selectors}79)") == "Alien (1979)"


@pytest.mark.parametrize(
    "title",
    [
        "Amélie",
        "الرسالة",
        "千と千尋の神隠し",
        "हिन्दी मीडियम",
        "Жить",
        "WALL·E",
        "8½",
        "🎬 Coda",
        "기생충",
        "Pokémon: 100% Wolf",
        "ශ්\u200dරී ලංකා",  # Sinhala can't write its country's name without a joiner
        "क्\u200dष, न्\u200cन",
        "می\u200cخواهم",
        "\U0001f469\U0001f3fd\u200d\U0001f680 at work",
        "Vi\u0065\u0323\u0302t Nam",
        "בְּרֵאשִׁ֖ית",
        "བརྒྱུད",
    ],
)
def test_visible_titles_stay_as_they_are(title: str) -> None:
    assert clean_text(title) == title
    assert not holds_hidden(title)


@pytest.mark.parametrize(
    ("title", "cleaned"),
    [
        ("\u200d\u200dAlien\u200d\u200c", "Alien"),
        ("Blade\u200cRunner", "Blade Runner"),  # a non-joiner that no script needs parts words, as it always did
        ("क्\u200d\u200d\u200d\u200dष", "क्\u200dष"),
        ("क्\U000e0072\u200d\ufe01ष", "क्\u200dष"),
        ("❤\ufe0f\u200d🔥", "❤\u200d🔥"),
        ("Z" + "\u0301" * 500 + "algo" + "\u20dd" * 500, "Z" + "\u0301" * MOST_MARKS + "algo" + "\u20dd" * MOST_MARKS),
        ("Alien\ufdd0\uffff", "Alien"),
    ],
)  # fmt: skip
def test_joiners_and_marks_stay_where_writing_needs_them(title: str, cleaned: str) -> None:
    assert clean_text(title) == cleaned == clean_text(cleaned)
    assert holds_hidden(title)


def test_a_cut_leaves_no_joiner_behind() -> None:
    label = clean_text("क्\u200d" * 500, LONGEST_TITLE)
    assert clean_text(label, LONGEST_TITLE) == label


def test_long_titles_are_cut_and_stay_apart() -> None:
    titles = ["x" * 10_000 + "a", "x" * 10_000 + "b", "y" * LONGEST_TITLE, "z " * 3_000]
    labels = build_labels(titles, ["1" * 9_000, "2", "3", "4"], [None] * 4)
    assert len(set(labels)) == 4
    assert labels[1] == "x" * (LONGEST_TITLE - 1) + "… [2]"
    assert labels[2] == titles[2]
    assert max(map(len, labels)) <= LONGEST_TITLE + LONGEST_FACT + 3
    assert catalog_of([(title, None) for title in titles]).resolve(labels[2]) == 3


def test_a_part_of_a_title_never_resolves() -> None:
    catalog = catalog_of([("Alien", None), ("Aliens", None)])
    assert catalog.resolve("Alien") == 1
    assert catalog.resolve(" Aliens ") == 2
    assert catalog.resolve("Alie") is None
    assert catalog.search("ALIENS") == [2]
