"""Ledgers held against the data: no stage was given what it may not see."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from deeprec import stages
from deeprec.audit.findings import Finding, Verdict
from deeprec.data.dataset import Dataset
from deeprec.ledger import ledger_file, read_ledger
from deeprec.run import Run
from deeprec.stages import RIVAL, RL_STAGES

_KNOWN = ("fit", "lead", "script", "rl")  # everything before validation


@dataclass(frozen=True, slots=True)
class Allowed:
    """Parts that a stage may have in histories, and as targets."""

    histories: tuple[str, ...]
    targets: tuple[str, ...]


ALLOWED = {
    stages.TRM: Allowed(("fit",), ("fit",)),
    stages.TRM_REFIT: Allowed(_KNOWN, _KNOWN),
    stages.WARM_START: Allowed(("fit", "lead", "script"), ("fit", "script")),
    stages.COLD_START: Allowed(_KNOWN, ("rl",)),
    stages.RECOMMENDATION: Allowed(_KNOWN, ("rl",)),
}


def check_ledgers(run: Run, dataset: Dataset) -> list[Finding]:
    """One finding for each finished stage that learns, and one for users shared by the two RL pools."""
    finished = run.finished()
    learned = [name for name in finished if name in ALLOWED or name.startswith(RIVAL)]
    found = [_check_stage(run, dataset, stage) for stage in learned]
    pools = [read_ledger(run, stage) for stage in RL_STAGES if stage in finished]
    if len(pools) == 2 and pools[0] is not None and pools[1] is not None:
        shared = set(pools[0]["user_id"].unique()) & set(pools[1]["user_id"].unique())
        verdict = Verdict.PROBLEM if shared else Verdict.PROVEN
        text = f"{len(shared)} users are in both" + (f", such as '{min(shared)}'" if shared else "")
        found.append(Finding("the RL pools share no user", verdict, text))
    return found


def _check_stage(run: Run, dataset: Dataset, stage: str) -> Finding:
    allowed = ALLOWED.get(stage, Allowed(_KNOWN, _KNOWN))
    targets = f", targets of {' and '.join(allowed.targets)}" if allowed.targets != allowed.histories else ""
    check = f"{stage} saw {', '.join(allowed.histories)} alone{targets}"
    ledger = read_ledger(run, stage)
    if ledger is None:
        missing = (
            f"{ledger_file(run, stage)} is missing; a stage of this version writes it when it runs again"
        )
        return Finding(check, Verdict.UNPROVEN, missing)
    leaks = find_leaks(ledger, dataset, allowed)
    if leaks:
        return Finding(check, Verdict.PROBLEM, f"{len(leaks)} leaks; the first: {leaks[0]}")
    items = int(ledger["items"].list.len().sum())
    return Finding(check, Verdict.PROVEN, f"{ledger.height:,} pasts, {items:,} interactions")


def find_leaks(ledger: pl.DataFrame, dataset: Dataset, allowed: Allowed) -> list[str]:
    """What a ledger holds that it may not: items of other parts, unknown ones, targets within their own past."""
    rows = dataset.interactions.select("user_id", "item_index", "part")
    rows = rows.with_columns(pl.int_range(pl.len()).over("user_id").alias("place"))
    # Where items may repeat, what counts is when an item was first known.
    first = rows.unique(["user_id", "item_index"], keep="first", maintain_order=True)
    given = ledger.with_row_index("row").with_columns(pl.col("target").is_not_null().alias("has_target"))
    shown = given.explode("items").drop_nulls("items")
    shown = shown.join(
        first,
        left_on=["user_id", "items"],
        right_on=["user_id", "item_index"],
        how="left",
        maintain_order="left",
    )
    wrong = shown.filter(pl.col("part").is_null() | ~pl.col("part").is_in(allowed.histories))
    leaks = [
        _name(dataset, user, item, part)
        for user, item, part in wrong.select("user_id", "items", "part").iter_rows()
    ]
    asked = given.filter("has_target").join(
        rows,
        left_on=["user_id", "target"],
        right_on=["user_id", "item_index"],
        how="left",
        maintain_order="left",
    )
    targets = asked.group_by("row", maintain_order=True).agg(
        pl.col("user_id").first(),
        pl.col("target").first(),
        pl.col("part").is_in(allowed.targets).any().fill_null(False).alias("may"),
        pl.col("part").last(),
        pl.col("place").max(),
    )
    leaks += [
        _name(dataset, user, item, part)
        for user, item, part in targets.filter(~pl.col("may")).select("user_id", "target", "part").iter_rows()
    ]
    late = shown.join(targets.select("row", pl.col("place").alias("target_place")), on="row", how="inner")
    late = late.filter(pl.col("place") >= pl.col("target_place"))
    leaks += [
        f"user '{user}': '{dataset.catalog[item].label}' was shown before it happened"
        for user, item in late.select("user_id", "items").iter_rows()
    ]
    return leaks


def _name(dataset: Dataset, user: str, item: int, part: str | None) -> str:
    known = 1 <= item <= dataset.catalog.n_items
    title = f"'{dataset.catalog[item].label}'" if known else f"item index {item}"
    if part is None:
        return f"user '{user}': {title} is none of this user's interactions"
    return f"user '{user}': {title} belongs to '{part}'"
