"""Tables of an evaluation: what is marked, and that Markdown and LaTeX stay whole whatever a name holds."""

from __future__ import annotations

import re

import pytest

from deeprec.evaluation.columns import COLUMNS, marks, method_places
from deeprec.evaluation.grids import Cell, Grid, differences_grid, methods_grid, notes, slice_grid
from deeprec.evaluation.markup import (
    escape_latex,
    escape_markdown,
    evaluation_latex,
    evaluation_markdown,
    grid_latex,
    grid_markdown,
    slices_latex,
    slices_markdown,
)
from deeprec.evaluation.summary import EvaluationSummary
from deeprec.run import Run

BY_KEY = {column.key: column for column in COLUMNS}


@pytest.mark.parametrize(
    ("key", "texts", "expected"),
    [
        ("ndcg@10", {"a": "0.1000", "b": "0.2000", "c": "0.3000"}, {"c": "best", "b": "second"}),
        ("ndcg@10", {"a": "0.3000", "b": "0.3000", "c": "0.1000"}, {"a": "best", "b": "best", "c": "second"}),
        ("seconds", {"a": "0.1000", "b": "0.2000", "c": "-"}, {"a": "best", "b": "second"}),
        ("popularity_lift", {"a": "-0.02", "b": "+0.30", "c": "-0.40"}, {"a": "best", "b": "second"}),
        ("ndcg@10", {"a": "0.1000", "b": "0.2000", "oracle": "0.9000"}, {"b": "best", "a": "second"}),
        (
            "ndcg@10",
            {"x: a": "0.1000", "y: a": "0.2000", "y: oracle": "0.9000"},
            {"y: a": "best", "x: a": "second"},
        ),
        ("ndcg@10", {"a": "0.1000", "b": "0.1000"}, {}),  # nothing to tell apart
    ],
)
def test_marks(key: str, texts: dict[str, str], expected: dict[str, str]) -> None:
    assert {name: mark for name, mark in marks(BY_KEY[key], texts).items() if mark} == expected


def test_methods_stand_from_the_floor_to_the_ceiling_evaluation_by_evaluation() -> None:
    names = ["b: oracle", "b: ease", "b: trm", "b: popularity", "a: recommendation", "a: trm"]
    assert method_places(names) == [
        "b: popularity", "b: trm", "b: ease", "b: oracle", "a: trm", "a: recommendation",
    ]  # fmt: skip


NASTY = '50%_$x$ & {y} | #1 <b>~^\\ "q" *z* `c`'


def test_escaping() -> None:
    latex = escape_latex(NASTY)
    commands = (
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textquotedbl)\{\}"
    )
    assert not re.search(r"(?<!\\)[%_$&#{}~^]", re.sub(commands, "", latex))
    assert escape_latex("two\nlines") == "two lines"
    markdown = escape_markdown(NASTY + "\n")
    assert not re.search(r"(?<!\\)[|*_`]", markdown)
    assert "<" not in markdown
    assert "\n" not in markdown


def nasty_grid() -> Grid:
    rows = ((Cell(NASTY), Cell("-0.1000", "best")), (Cell("plain"), Cell("[-0.2000, +0.1000]", "second")))
    return Grid(NASTY, ("Method", NASTY), rows)


def test_a_grid_in_markdown() -> None:
    lines = grid_markdown(nasty_grid()).splitlines()
    assert lines[3] == "|---|---:|"
    for line in (lines[2], *lines[4:6]):
        assert len(re.findall(r"(?<!\\)\|", line)) == 3
    assert lines[4].endswith("| **-0.1000** |")
    assert lines[5].endswith("| <u>[-0.2000, +0.1000]</u> |")


def check_latex(text: str) -> None:
    """Environments nest, braces pair, and every row has as many cells as the table has columns."""
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    for table in re.findall(r"\\begin\{tabular\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        width = len(re.match(r"\{(\w+)\}", table)[1])  # type: ignore[index]
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert len(rows) >= 2
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {width}
        assert [table.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def test_a_grid_in_latex() -> None:
    text = grid_latex(nasty_grid(), ["A note with 5% and a_b."])
    check_latex(text)
    assert r"\textbf{$-$0.1000} \\" in text
    assert r"\underline{{[$-$0.2000, +0.1000]}} \\" in text
    assert r"5\% and a\_b." in text


def test_the_tables_of_an_evaluation(evaluated: tuple[Run, EvaluationSummary]) -> None:
    run, summary = evaluated
    for text in (evaluation_latex(summary), slices_latex(summary)):
        check_latex(text)
    markdown = evaluation_markdown(summary)
    assert (run.report / "table.md").read_text(encoding="utf-8") == markdown
    assert (run.report / "slices.md").read_text(encoding="utf-8") == slices_markdown(summary)
    for title in (
        "Recall@1",
        "NDCG@10",
        "Coverage",
        "Novelty",
        "Popularity lift",
        "List diversity",
        "LLM tokens",
    ):
        assert f" {title} |" in markdown
    assert "DeepRec, warm start gave 10 users no list: a miss each" in markdown
    assert "corrected over all 6 comparisons" in markdown  # three pairs, two metrics
    grid = differences_grid(summary)
    assert grid is not None
    assert len(grid.rows) == 6
    assert "unseen target (" in slices_markdown(summary)
    assert "small: fewer than 100 users" in slices_markdown(summary)


def test_what_nobody_has_is_no_column(evaluated: tuple[Run, EvaluationSummary]) -> None:
    _, summary = evaluated
    alone = summary.model_copy(update={"methods": {"trm": summary.methods["trm"]}})
    assert "LLM tokens" not in methods_grid(alone).head
    assert "LLM tokens" in methods_grid(summary).head
    column = BY_KEY["ndcg@10"]
    sliced = slice_grid(summary, column)
    assert len(sliced.head) == 1 + len(summary.slices)
    assert re.fullmatch(r"[\d.]{6} \[[\d.]{6}, [\d.]{6}\]", sliced.rows[0][1].text)


def test_notes_list_users_without_a_target_and_missing_ones(evaluated: tuple[Run, EvaluationSummary]) -> None:
    _, summary = evaluated
    users = [f"u{number}" for number in range(13)]
    changed = summary.model_copy(
        update={
            "without_target": users,
            "missing": {"b": ["u1"]},
            "left_out": ["diversity"],
            "few_left": ["u7"],
        }
    )
    text = "\n".join(notes(changed))
    assert "not counted: 13 users (u0, u1, u2, u3, u4, u5, u6, u7, u8, u9 and 3 more)." in text
    assert "not in b, and so left out: 1 user (u1)." in text
    assert f"Fewer than {summary.k} items are left, and so listed, for 1 user (u7)." in text
    assert "did not measure it alike: List diversity." in text
