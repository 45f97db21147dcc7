"""The run that is looked at: every stage up to the first of RL, for real, in some ten seconds."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from deeprec.config import SyntheticConfig, load_config
from deeprec.run import Run

# What a catalogue may hold, and a page must show as it is.
MARKUP = "<img src=x onerror=\"document.title='broken'\"> & <b>bold</b>"
SETTINGS = (
    "data.name=table",
    "data.min_user_interactions=1",
    "trm.width=16",
    "trm.text_dim=16",
    "trm.epochs=2",
    "trm.preference_steps=50",
    "policy.width=32",
    "policy.heads=2",
    "policy.key_value_heads=1",
    "policy.inner=64",
    "policy.pieces=400",
    "policy.context=640",
    "warm_start.text_epochs=0",
    "warm_start.script_steps=220",
    "warm_start.trajectories_per_step=8",
    "warm_start.learning_rate=1e-2",
    "rollout.history=3",
    "rollout.retrieved=5",
    "rollout.recommended=4",
    "rollout.segment_tokens=40",
    "rollout.response_tokens=300",
    "rl.users_per_step=4",
    "rl.rollouts_per_user=4",
    "rl.cold_start.steps=11",
    "rl.evaluate_every=5",
    "rl.evaluate_users=4",
    "rl.recommendation.steps=0",
    "selection.stage_one_share=1",
)


def make_run(folder: Path) -> Path:
    """Data with one title of markup, TRM, warm start, and RL that leaves trajectories and figures."""
    from deeprec.data.stage import run_data
    from deeprec.rl.stage import run_rl
    from deeprec.rl.warm_start import run_warm_start
    from deeprec.trm.stage import run_trm

    tables = folder.parent
    _write_tables(tables)
    sources = (f"data.source={tables / 'had.csv'}", f"data.items={tables / 'items.csv'}")
    run = Run.create(folder, load_config(overrides=(*SETTINGS, *sources)))
    dataset = run_data(run)
    trm = run_trm(run, dataset)
    run_warm_start(run, dataset, trm)
    run_rl(run, dataset, trm, "cold_start")
    return run.folder


def _write_tables(folder: Path) -> None:
    from deeprec.data.synthetic import simulate

    raw = simulate(SyntheticConfig(users=60, items=24, interactions_per_user=12), 0).raw
    titles = [MARKUP, *raw.items["title"].to_list()[1:]]
    items = raw.items.with_columns(pl.col("categories").list.join("|"), title=pl.Series(titles)).drop("line")
    items.write_csv(folder / "items.csv")
    raw.interactions.drop("line").write_csv(folder / "had.csv")
