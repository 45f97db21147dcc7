"""The results page of two seeds, whole, as it was last reviewed."""

from __future__ import annotations

from pathlib import Path

from deeprec.evaluation.results_page import render_results

GOLDEN = Path(__file__).parent / "results_page"


def test_results_page() -> None:
    assert render_results(GOLDEN) == (GOLDEN / "expected.md").read_text(encoding="utf-8")
