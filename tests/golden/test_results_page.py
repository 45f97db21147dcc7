"""The results pages of two seeds, whole, as they were last reviewed."""

from __future__ import annotations

from pathlib import Path

from deeprec.evaluation.results_page import render_pages

GOLDEN = Path(__file__).parent / "results_page"


def test_results_pages() -> None:
    expected = GOLDEN / "expected"
    files = [path for path in expected.rglob("*") if path.is_file()]
    assert render_pages(GOLDEN) == {
        str(path.relative_to(expected)): path.read_text(encoding="utf-8") for path in files
    }
