"""Labels are unique, free of tags, and resolve to themselves."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from deeprec.data.catalog import Catalog, build_labels, clean_text
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


def test_labels_that_collide_with_suffixes() -> None:
    assert build_labels(["A", "A", "A [1]"], ["1", "2", "3"], [None] * 3) == [
        "A [1] [#1]",
        "A [2]",
        "A [1] [#3]",
    ]
    assert build_labels(["", "A\n<b>"], ["x<", "y"], [None] * 2) == ["untitled [x‹]", "A ‹b›"]


def test_a_part_of_a_title_never_resolves() -> None:
    catalog = catalog_of([("Alien", None), ("Aliens", None)])
    assert catalog.resolve("Alien") == 1
    assert catalog.resolve(" Aliens ") == 2
    assert catalog.resolve("Alie") is None
    assert catalog.search("ALIENS") == [2]
