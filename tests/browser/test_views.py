"""Compare, trajectories and curves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from looking import Eyes

Look = Callable[..., Eyes]


def records(run_folder: Path) -> list[dict[str, Any]]:
    """What the run's file of trajectories holds."""
    return [json.loads(line) for line in (run_folder / "trajectories.jsonl").read_text().splitlines()]


def test_three_lists_side_by_side(look: Look) -> None:
    eyes = look("#/compare?user=u7&k=5")
    summary = eyes.compare()
    lists = {}
    for name in ("DeepRec", "Plain TRM", "Another run"):
        side = eyes.page.get_by_role("region", name=name)
        lists[name] = side.locator("ol > li h3").all_inner_texts()
        assert len(lists[name]) == 5
        for title, mark in zip(lists[name], side.locator(".shared").all_inner_texts(), strict=True):
            others = [other for other in lists if other != name and title in lists[other]]
            for other in others:  # marked with its rank there
                assert f"{other} {lists[other].index(title) + 1}" in mark
    both = set(lists["DeepRec"]) & set(lists["Plain TRM"])
    assert f"share {len(both)} item" in summary
    eyes.picture("compare", whole=True)


def test_what_only_one_list_holds_is_said(look: Look) -> None:
    eyes = look("#/compare?user=u7&k=3")
    eyes.compare()
    marks = eyes.page.locator(".shared").all_inner_texts()
    assert len(marks) == 9
    assert all(mark == "only here" or mark.startswith("= ") for mark in marks), marks


def test_comparing_needs_a_history(look: Look) -> None:
    eyes = look("#/compare")
    eyes.button("Compare").click()
    eyes.see("No history chosen", "Pick a user or add a title first")


def test_trajectories_are_filtered_and_read(look: Look, run_folder: Path) -> None:
    all_of_them = records(run_folder)
    eyes = look("#/trajectories")
    page = eyes.page
    eyes.heading(f"{len(all_of_them)} found").wait_for()
    good = [one for one in all_of_them if one["stop_reason"] == "finished" and one["reward"] >= 0.5]
    page.get_by_label("Ended").select_option("finished")
    page.get_by_label("Reward from").fill("0.5")
    page.get_by_label("Reward from").press("Tab")
    eyes.heading(f"{len(good)} found").wait_for()
    row = page.locator(".rows a").first
    assert good[0]["user_id"] in row.inner_text()
    row.click()
    title = f"{good[0]['user_id']}, step {good[0]['step']}"
    eyes.heading(title).wait_for()
    assert eyes.focus() == title
    parts = page.get_by_role("table", name="Reward by part")
    assert parts.locator("tbody th").all_inner_texts() == [
        name.replace("_", " ") for name in good[0]["parts"]
    ]
    page.get_by_text("What was written, word for word").click()
    assert page.locator("pre").nth(1).inner_text() == good[0]["response"]
    eyes.picture("trajectories", whole=True)
    page.reload()  # the address holds filters and choice
    eyes.heading(title).wait_for()
    page.get_by_label("Step", exact=True).fill("9999")
    page.get_by_label("Step", exact=True).press("Tab")
    eyes.see("No trajectory matches")
    page.get_by_role("link", name="clear them all").click()
    eyes.heading(f"{len(all_of_them)} found").wait_for()


def test_pages_of_the_list(look: Look, run_folder: Path) -> None:
    count = len(records(run_folder))
    assert count > 20, "the run has to fill more than one page"
    eyes = look("#/trajectories")
    eyes.see("1–20")
    eyes.page.get_by_role("link", name="Next").click()
    eyes.see(f"21–{count}")
    eyes.page.get_by_role("link", name="Previous").click()
    eyes.see("1–20")
    eyes.goto("#/trajectories?show=5000")
    eyes.see("This is past the end of the list")
    eyes.page.get_by_role("link", name="go to the first ones").click()
    eyes.see("1–20")


def test_curves_have_pictures_and_numbers(look: Look, run_folder: Path) -> None:
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if line["stage"] == "cold_start" and "reward" in line]
    eyes = look("#/curves")
    page = eyes.page
    page.wait_for_url("**stage=cold_start**")  # this run has no later stage
    page.get_by_label("Name contains").fill("reward")
    picture = page.get_by_role("img", name="reward. ").first
    picture.wait_for()
    assert f"{len(logged)} points" in picture.get_attribute("aria-label")
    chart = page.locator("figure").first
    chart.get_by_text("Numbers").click()
    assert chart.locator("tbody tr").count() >= len(logged)
    eyes.picture("curves")
    page.get_by_label("Stage").select_option("trm")
    page.get_by_label("Name contains").fill("ndcg")
    page.get_by_role("img", name="ndcg. ").wait_for()
    page.get_by_label("Name contains").fill("no such")
    eyes.see("No curve has that in its name")
