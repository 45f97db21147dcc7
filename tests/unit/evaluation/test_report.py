"""The report: one self-contained page with everything escaped, and the terminal's tables."""

from __future__ import annotations

import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from deeprec.config import RunConfig
from deeprec.errors import EvaluationError, RunError
from deeprec.evaluation.bootstrap import Difference
from deeprec.evaluation.charts import (
    SPARK_HEIGHT,
    SPARK_WIDTH,
    Series,
    bar_chart,
    line_chart,
    spark_line,
    ticks,
)
from deeprec.evaluation.curves import fit_panels, rl_panels
from deeprec.evaluation.report import write_report
from deeprec.evaluation.summary import EvaluationSummary
from deeprec.evaluation.terminal import render_evaluation
from deeprec.evaluation.wording import exploring, final_policy, learning, standing
from deeprec.run import Run

VOID = {"meta"}


class Checker(HTMLParser):
    """Collects tags, and fails on one that is never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        # Optional end tags are always written in this page, so the last open one must match.
        assert self.open.pop() == tag, tag


def test_the_page(evaluated: tuple[Run, EvaluationSummary]) -> None:
    run, _ = evaluated
    page = write_report(run).read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "script" not in checker.seen  # what the policy wrote is text here
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search(r"(src|href)\s*=|@import|url\(", page)  # nothing is loaded from anywhere
    assert (
        page.count("<details") == run.config.evaluation.shown_trajectories + 2
    )  # trajectories, slices and the configuration
    assert page.count('<tr class="ours"') == 2
    assert "DeepRec is ahead of its TRM" in page
    assert "prefers-color-scheme: dark" in page
    assert "stage 2" in page
    assert "Health of the training" in page
    for stage, figures in (("Stage 1", 4), ("Stage 2", 3)):  # the format is rewarded in stage 1 only
        assert f"{stage}. 1 of {figures} figures is worth watching: valid trajectories." in page
    assert page.count('class="spark"') == 7
    assert page.count('<span class="watch">watch</span>') == 2
    assert "train the warm start longer.<small>watch below 0.7, bad below 0.4</small>" in page
    assert str(run.folder.parent) not in page  # a page that is passed on names no place of this machine


def test_the_page_needs_an_evaluation(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RunConfig())
    with pytest.raises(EvaluationError, match="run `deeprec evaluate"):
        write_report(run)
    assert not run.report.exists()


def test_the_page_needs_the_data(tmp_path: Path, evaluated: tuple[Run, EvaluationSummary]) -> None:
    run = Run.create(tmp_path / "run", RunConfig())
    run.report.mkdir()
    (run.report / "evaluation.json").write_text(evaluated[1].model_dump_json())
    with pytest.raises(RunError, match="stage 'data' has not been run"):
        write_report(run)


def test_the_terminal(evaluated: tuple[Run, EvaluationSummary]) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(render_evaluation(evaluated[0]))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "DeepRec, after stage 2" in text
    assert "DeepRec, warm start, not finished: no list 10" in text
    assert "DeepRec is ahead of its TRM: NDCG@10 is" in text


def test_sentences_follow_the_interval(evaluated: tuple[Run, EvaluationSummary]) -> None:
    _, summary = evaluated
    assert final_policy(summary) is summary.methods["recommendation"]
    method = summary.methods["recommendation"]
    for low, high, words in (
        (-0.3, -0.1, "DeepRec is behind its TRM"),
        (-0.1, 0.1, "no clear difference between DeepRec and its TRM"),
    ):
        difference = Difference(mean=(low + high) / 2, low=low, high=high, relative=-0.5)
        changed = method.model_copy(update={"differences": {"trm": {"ndcg@10": difference}}})
        other = summary.model_copy(update={"methods": {**summary.methods, "recommendation": changed}})
        assert words in standing(other)
        assert learning(other) is None
    assert "raised the reward of stage 2" in str(learning(summary))
    assert "more targets than the TRM's plain top" in str(exploring(summary))
    alone = summary.model_copy(update={"methods": {"trm": summary.methods["trm"]}})
    assert standing(alone) == "No policy was evaluated."
    assert exploring(alone) is None


def test_panels_put_both_stages_on_one_axis() -> None:
    records = [
        {"stage": "cold_start", "step": 0, "heldout/reward": 0.1},
        {"stage": "cold_start", "step": 1, "reward": 1.0, "extra": 5.0, "note": "text"},
        {"stage": "cold_start", "step": 2, "reward": 2.0},
        {"stage": "recommendation", "step": 0, "heldout/reward": 0.2},
        {"stage": "recommendation", "step": 1, "reward": 3.0, "stop/finished": 1.0, "stop/no_list": 0.0},
        {"stage": "warm_start", "step": 1, "loss": 4.0},
    ]
    panels = {panel.title: panel for panel in rl_panels(records)}
    assert list(panels) == ["Mixed reward", "Stop reasons, share", "extra"]
    training, heldout = panels["Mixed reward"].series
    assert (training.name, heldout.name) == ("training", "held out")
    assert [x for x, _ in training.points] == [1, 2, 3, 3]
    assert math.isnan(training.points[2][1])  # a gap, so that no stroke joins the stages
    assert panels["Mixed reward"].boundaries == ((2.0, "stage 2"),)
    assert [line.name for line in panels["Stop reasons, share"].series] == ["finished"]
    assert rl_panels([]) == []


def test_panels_of_what_was_fitted() -> None:
    records = [
        {"stage": "trm", "epoch": 1, "loss": 4.0, "ndcg": 0.1, "seconds": 2.0},
        {"stage": "trm", "epoch": 2, "loss": 3.0, "ndcg": 0.2, "ndcg_true_phrase": 0.3},
        {"stage": "warm_start", "step": 1, "loss": 4.0},
        {"stage": "warm_start", "step": 21, "loss": 2.0},
        {"stage": "cold_start", "step": 1, "loss": 9.0},
    ]
    loss, validation, warm = fit_panels(records)
    assert loss.series == (Series("loss", ((1.0, 4.0), (2.0, 3.0))),)
    assert [line.points for line in validation.series] == [((1.0, 0.1), (2.0, 0.2)), ((2.0, 0.3),)]
    assert warm.series == (Series("loss", ((1.0, 4.0), (21.0, 2.0))),)
    assert fit_panels(records[-1:]) == []


def test_steps_that_count_through_are_not_shifted() -> None:
    records = [
        {"stage": "cold_start", "step": 2, "reward": 1.0},
        {"stage": "recommendation", "step": 3, "reward": 1.0},
    ]
    assert [x for x, _ in rl_panels(records)[0].series[0].points] == [2, 3, 3]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3, 8), (5, 5), (0, 0), (-2, -2), (1e-7, 3e-7), (-1e6, 1e6), (1e-13, 4e-13)]
)
def test_ticks_span_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low <= high <= found[-1]
    assert 2 <= len(found) <= 7
    assert len(set(found)) == len(found)


def test_a_small_line_stays_inside_and_leaves_gaps() -> None:
    points = ((1.0, 0.5), (2.0, 0.5), (3.0, math.nan), (4.0, 9.0), (5.0, -9.0), (6.0, math.nan))
    line = str(spark_line(points, "<b>"))
    assert "&lt;b&gt;" in line
    assert "nan" not in line
    strokes = re.findall(r'points="([^"]*)"', line)
    assert [len(stroke.split()) for stroke in strokes] == [2, 2]
    for x, y in re.findall(r"([\d.]+),([\d.]+)", " ".join(strokes)):
        assert 0 <= float(x) <= SPARK_WIDTH
        assert 0 <= float(y) <= SPARK_HEIGHT
    assert f'cx="{strokes[-1].split()[-1].split(",")[0]}"' in line  # the dot is the latest value
    assert spark_line([(1.0, math.nan)], "d") == "-"
    assert "<circle" in spark_line([(1.0, 2.0)], "d")


def test_charts_stay_inside_and_escape() -> None:
    points = ((0.0, 1.0), (1.0, math.nan), (2.0, -4.0), (3.0, 7.0))
    chart = str(
        line_chart([Series("<i>", points), Series("b", points)], "<x>", '"quoted"', [(1.0, "<edge>")])
    )
    assert "<i>" not in chart
    assert "<x>" not in chart
    assert "<edge>" not in chart
    assert "&#34;quoted&#34;" in chart
    assert "nan" not in chart
    for x, y in re.findall(r"([\d.]+),([\d.]+)", " ".join(re.findall(r'points="([^"]*)"', chart))):
        assert 0 <= float(x) <= 360
        assert 0 <= float(y) <= 210
    assert "Nothing was logged" in line_chart([], "x", "d")
    assert "Nothing to show" in bar_chart([], "x", "d")
    assert bar_chart([("one", 3.0), ("<b>", 0.0)], "x", "d").count("<rect") == 2
