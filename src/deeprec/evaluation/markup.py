"""Grids as Markdown and as LaTeX (booktabs)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deeprec.evaluation.columns import RANKING
from deeprec.evaluation.grids import (
    Cell,
    Grid,
    differences_grid,
    methods_grid,
    notes,
    slice_grid,
    slice_notes,
)
from deeprec.evaluation.summary import EvaluationSummary

_SLICED = ("recall@10", "ndcg@10")
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip
_FIGURES = re.compile(r"[-+.,\d\[\] ]+")
_MINUS = re.compile(r"-(?=\d)")
_MARKDOWN = {
    "\\": "\\\\",
    "|": "\\|",
    "*": "\\*",
    "_": "\\_",
    "<": "&lt;",
    ">": "&gt;",
    "`": "\\`",
    "\n": " ",
}


def evaluation_markdown(summary: EvaluationSummary) -> str:
    """The whole evaluation: methods, differences and tests, notes."""
    grids = [grid for grid in (methods_grid(summary), differences_grid(summary)) if grid is not None]
    return "\n".join([*map(grid_markdown, grids), _list(notes(summary))])


def evaluation_latex(summary: EvaluationSummary) -> str:
    """The same for LaTeX; the notes are the caption's last sentences."""
    methods, tests = methods_grid(summary), differences_grid(summary)
    parts = [_PREAMBLE, grid_latex(methods, notes(summary))]
    return "\n".join([*parts, grid_latex(tests)] if tests is not None else parts)


def slices_markdown(summary: EvaluationSummary) -> str:
    """Recall@10 and NDCG@10 of each method in each slice, and what the slices are."""
    return "\n".join([*map(grid_markdown, _slice_grids(summary)), _list(slice_notes(summary))])


def slices_latex(summary: EvaluationSummary) -> str:
    """The same for LaTeX."""
    first, *others = _slice_grids(summary)
    texts = [f"{note}." for note in slice_notes(summary)]
    return "\n".join([_PREAMBLE, grid_latex(first, texts), *(grid_latex(grid) for grid in others)])


def grid_markdown(grid: Grid) -> str:
    """A heading and a pipe table; the best cell of a column is bold, the second underlined."""
    lines = [
        f"### {escape_markdown(grid.title)}\n",
        f"| {' | '.join(map(escape_markdown, grid.head))} |",
        f"|---|{'---:|' * (len(grid.head) - 1)}",
        *(f"| {' | '.join(map(_markdown_cell, row))} |" for row in grid.rows),
    ]
    return "\n".join(lines) + "\n"


def grid_latex(grid: Grid, caption: Sequence[str] = ()) -> str:
    """A `table` with the grid as `tabular`; the title and `caption` become its caption."""
    text = " ".join([f"{grid.title}.", *caption])
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape_latex(text)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(grid.head) - 1)}}}",
        r"\toprule",
        " & ".join(map(escape_latex, grid.head)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_latex_cell, row)) + r" \\" for row in grid.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


_PREAMBLE = "% Needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}.\n"


def escape_latex(text: str) -> str:
    """Text that LaTeX typesets as it is; a line break becomes a space."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def escape_markdown(text: str) -> str:
    """Text that can stand in a cell of a table and marks nothing up."""
    return "".join(_MARKDOWN.get(letter, letter) for letter in text)


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    return {"": text, "best": f"**{text}**", "second": f"<u>{text}</u>"}[cell.mark]


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    if _FIGURES.fullmatch(cell.text):
        text = _MINUS.sub("$-$", text)  # typeset as it stands, it would be a hyphen
    text = f"{{{text}}}" if text.startswith("[") else text  # a row's end would take it for a length
    return {"": text, "best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}[cell.mark]


def _slice_grids(summary: EvaluationSummary) -> list[Grid]:
    return [slice_grid(summary, column) for column in RANKING if column.key in _SLICED]


def _list(texts: Sequence[str]) -> str:
    return "".join(f"- {escape_markdown(text)}\n" for text in texts)
