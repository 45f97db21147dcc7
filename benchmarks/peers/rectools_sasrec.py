"""Peer: SASRec of RecTools 0.19 on the data of a run, with the rank of every held-out target.

Runs in an environment of its own (`make peers`) and imports nothing of deeprec: it reads the
Parquet files of a prepared data set (docs/data.md) and writes one JSON file.

    .venv-peers/bin/python benchmarks/peers/rectools_sasrec.py --run runs/ml-1m --out sasrec.json

Trained on the part `fit` alone; after each epoch NDCG@10 on the part `validation` decides
which epoch is kept and when to stop. RecTools trains on the latest `history` + 1 items of each
user. Ranks are over the whole catalogue without the items that the user had before, ties by
item index; items that RecTools never met rank last.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.lightning import TransformerLightningModule

_USERS_PER_CHUNK = 256


@dataclass(frozen=True)
class Targets:
    """Held-out items of one part: row u of all lists is one target."""

    user_ids: list[str]
    histories: list[np.ndarray]  # all items before the target, oldest first
    items: np.ndarray  # (U,)


@dataclass(frozen=True)
class Split:
    """The prepared data, read from its files."""

    name: str
    n_items: int
    allow_repeats: bool
    fingerprint: str
    fit: pd.DataFrame  # RecTools' columns
    validation: Targets
    test: Targets


def read_split(run: Path) -> Split:
    """Read `run`/data; interactions come grouped by user, oldest first."""
    folder = run / "data"
    facts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    rows = pl.read_parquet(folder / "interactions.parquet")
    n_items = pl.read_parquet(folder / "items.parquet", columns=["item_index"]).height
    fit = rows.filter(pl.col("part") == "fit")
    # The place in the data is the order: time stamps tie, and ties are settled by the preparation.
    frame = pd.DataFrame(
        {
            Columns.User: fit["user_id"].to_list(),
            Columns.Item: fit["item_index"].to_numpy().astype(np.int64),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(np.arange(len(fit)), unit="s"),
        }
    )
    parts = {name: _targets(rows, name) for name in ("validation", "test")}
    return Split(facts["name"], n_items, facts["allow_repeats"], facts["fingerprint"], frame, **parts)


def _targets(rows: pl.DataFrame, part: str) -> Targets:
    user, item = np.array(rows["user_id"].to_list()), rows["item_index"].to_numpy().astype(np.int64)
    starts = np.flatnonzero(np.r_[True, user[1:] != user[:-1]])
    places = np.flatnonzero((rows["part"] == part).to_numpy())
    first = starts[np.searchsorted(starts, places, side="right") - 1]
    histories = [item[a:b] for a, b in zip(first, places, strict=True)]
    return Targets([str(name) for name in user[places]], histories, item[places])


class Scorer:
    """Scores of the whole catalogue from a model's network and item map."""

    def __init__(self, module: TransformerLightningModule, n_items: int, history: int) -> None:
        self.network = module.torch_model
        prepared = module.data_preparator
        self.known = np.asarray(prepared.get_known_item_ids(), dtype=np.int64)  # catalogue's item_index
        self.internal = np.zeros(n_items + 1, dtype=np.int64)
        self.internal[self.known] = prepared.get_known_items_sorted_internal_ids()
        self.n_items = n_items
        self.history = history

    @torch.no_grad()
    def ranks(self, targets: Targets, allow_repeats: bool) -> np.ndarray:
        """Rank (U,) of each target, 1 = best."""
        training = self.network.training
        self.network.eval()
        items = self.network.item_model.get_all_embeddings()
        found = [
            self._ranks(items, targets.histories[a : a + _USERS_PER_CHUNK],
                        targets.items[a : a + _USERS_PER_CHUNK], allow_repeats)
            for a in range(0, len(targets.items), _USERS_PER_CHUNK)
        ]  # fmt: skip
        self.network.train(training)
        return np.concatenate(found)

    def _ranks(
        self, items: torch.Tensor, histories: list[np.ndarray], wanted: np.ndarray, allow_repeats: bool
    ) -> np.ndarray:
        x = np.zeros((len(histories), self.history), dtype=np.int64)  # padded on the left, as RecTools does
        for row, history in enumerate(histories):
            known = self.internal[history]
            known = known[known > 0][-self.history :]
            x[row, self.history - len(known) :] = known
        states = self.network.encode_sessions({"x": torch.from_numpy(x).to(items.device)}, items)[:, -1]
        columns = torch.from_numpy(self.internal[self.known]).to(items.device)
        scores = np.full((len(histories), self.n_items + 1), np.finfo(np.float32).min, dtype=np.float32)
        scores[:, self.known] = (states @ items[columns].T).float().cpu().numpy()
        scores[:, 0] = -np.inf
        if not allow_repeats:
            for row, history in enumerate(histories):
                scores[row, history] = -np.inf
        own = np.take_along_axis(scores, wanted[:, None], axis=1)
        earlier = np.arange(self.n_items + 1)[None] < wanted[:, None]
        ranks = 1 + (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
        ranks[~np.isfinite(own[:, 0])] = self.n_items + 1  # may not be recommended: out of reach
        return ranks


class RealPositions(TransformerLightningModule):
    """RecTools' softmax loss without the logits of padding: the same value and gradient, in less time.

    For accuracy, where time on a CPU limits the epochs; speed is measured without it.
    """

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        items = self.torch_model.item_model.get_all_embeddings()
        states = self.torch_model.encode_sessions(batch, items)
        real = batch["y"] != 0
        logits = self.torch_model.similarity_module(states[real], items) / self.logits_t
        return torch.nn.functional.cross_entropy(logits, batch["y"][real])


class Watch(Callback):
    """Times each epoch, counts its tokens, validates, keeps the best weights and stops."""

    def __init__(self, split: Split, options: argparse.Namespace) -> None:
        self.split = split
        self.options = options
        self.scorer: Scorer | None = None
        self.curve: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] | None = None
        self.best_ndcg = -1.0
        self.waited = 0
        self.reason = "epochs"
        self.started = time.monotonic()
        self._tokens = 0
        self._epoch_started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.scorer = Scorer(pl_module, self.split.n_items, self.options.history)
        self.started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._tokens = 0
        self._epoch_started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: dict[str, torch.Tensor], batch_idx: int
    ) -> None:
        self._tokens += int((batch["y"] != 0).sum())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        seconds = time.perf_counter() - self._epoch_started
        record: dict[str, Any] = {
            "epoch": len(self.curve) + 1, "tokens": self._tokens, "train_seconds": round(seconds, 4)
        }  # fmt: skip
        if not self.options.speed_only:
            self._validate(trainer, pl_module, record)
        self.curve.append(record)
        print(json.dumps(record), file=sys.stderr, flush=True)
        late = time.monotonic() - self.started > 60 * self.options.max_minutes
        if self.waited >= self.options.patience or late:
            self.reason = "patience" if self.waited >= self.options.patience else "time"
            trainer.should_stop = True

    def _validate(self, trainer: Trainer, pl_module: Any, record: dict[str, Any]) -> None:
        assert self.scorer is not None
        ranks = self.scorer.ranks(self.split.validation, self.split.allow_repeats)
        ndcg = float(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).mean())
        record |= {"ndcg@10": round(ndcg, 6), "recall@10": round(float((ranks <= 10).mean()), 6)}
        if ndcg > self.best_ndcg:
            self.best_ndcg, self.waited = ndcg, 0
            self.best = {
                key: value.detach().cpu().clone() for key, value in pl_module.torch_model.state_dict().items()
            }
        else:
            self.waited += 1

    def __deepcopy__(self, memo: dict[int, Any]) -> Watch:
        return self  # RecTools copies its trainer; the record shall stay in one place


def train(split: Split, options: argparse.Namespace) -> tuple[SASRecModel, Watch]:
    """Fit RecTools' model; the returned one holds the weights of the best epoch."""
    seed_everything(options.seed)
    watch = Watch(split, options)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=options.epochs, accelerator=options.accelerator, devices=1, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[watch],
        )  # fmt: skip

    model = SASRecModel(
        n_blocks=options.blocks, n_heads=options.heads, n_factors=options.width,
        dropout_rate=options.dropout, session_max_len=options.history, batch_size=options.batch_size,
        loss="softmax", lr=options.lr, get_trainer_func=trainer,
        lightning_module_type=RealPositions if options.real_positions else TransformerLightningModule,
    )  # fmt: skip
    model.fit(Dataset.construct(split.fit))
    if watch.best is not None:
        model.lightning_model.torch_model.load_state_dict(watch.best)
    return model, watch


def report(split: Split, model: SASRecModel, watch: Watch, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that a comparison needs."""
    seconds = sum(entry["train_seconds"] for entry in watch.curve)
    tokens = sum(entry["tokens"] for entry in watch.curve)
    found: dict[str, Any] = {
        "method": f"SASRec (RecTools {version('rectools')})",
        "dataset": split.name,
        "fingerprint": split.fingerprint,
        "n_items": split.n_items,
        "items_unknown": split.n_items - len(watch.scorer.known) if watch.scorer else None,
        "settings": {key: str(value) if isinstance(value, Path) else value
                     for key, value in vars(options).items() if key not in {"run", "out"}},
        "seconds": round(seconds, 2),
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "epochs": len(watch.curve),
        "stopped": watch.reason,
        "curve": watch.curve,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "versions": {name: version(name) for name in ("rectools", "torch", "pytorch-lightning", "numpy")}
        | {"python": platform.python_version()},
    }  # fmt: skip
    if options.speed_only:
        found["recommend"] = recommend_times(split, model, options)
    else:
        assert watch.scorer is not None
        best = max(watch.curve, key=lambda entry: entry["ndcg@10"])
        found["best_epoch"] = best["epoch"]
        # Stopped by patience: it had converged. Otherwise more epochs might have helped.
        found["converged"] = watch.reason == "patience"
        for name, targets in (("validation", split.validation), ("test", split.test)):
            found[name] = {
                "user_ids": targets.user_ids,
                "targets": targets.items.tolist(),
                "ranks": watch.scorer.ranks(targets, split.allow_repeats).tolist(),
            }
    return found


def recommend_times(split: Split, model: SASRecModel, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of `recommend` for many users at once and for one: the best of several calls.

    Each call gets a data set of just its users, so that no time goes into the others.
    """
    users = list(dict.fromkeys(split.fit[Columns.User]))[: options.time_users]

    def call_ms(asked: list[str]) -> float:
        dataset = Dataset.construct(split.fit[split.fit[Columns.User].isin(asked)])
        started = time.perf_counter()
        model.recommend(users=asked, dataset=dataset, k=options.k, filter_viewed=True)
        return 1000 * (time.perf_counter() - started)

    call_ms(users)
    together = min(call_ms(users) for _ in range(options.time_calls))
    alone = [min(call_ms([user]) for _ in range(3)) for user in users[: options.time_calls]]
    return {"together_ms": together, "alone_ms": statistics.fmean(alone)}


def machine() -> str:
    """Processor and size of this machine, as deeprec says it."""
    text = f"{len(os.sched_getaffinity(0))} cores {platform.machine()}"
    return f"{text}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else text


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--run", type=Path, required=True, help="run folder with prepared data")
    add("--out", type=Path, required=True, help="JSON file to write")
    add("--history", type=int, default=50, help="latest items that are read (session_max_len)")
    add("--width", type=int, default=64)
    add("--blocks", type=int, default=2)
    add("--heads", type=int, default=2)
    add("--dropout", type=float, default=0.2)
    add("--epochs", type=int, default=100)
    add("--patience", type=int, default=10, help="epochs without a better validation NDCG@10")
    add("--batch-size", type=int, default=128, help="users a step")
    add("--lr", type=float, default=1e-3)
    add("--seed", type=int, default=0)
    add("--max-minutes", type=float, default=50)
    add("--threads", type=int, default=None, help="threads of torch; none: as the environment says")
    add("--accelerator", choices=["cpu", "gpu"], default="cpu")
    add("--real-positions", action="store_true", help="no logits for padding: same loss, less time")
    add("--speed-only", action="store_true", help="no validation, no ranks: only how fast it is")
    add("--time-users", type=int, default=256, help="with --speed-only: users of a timed recommend")
    add("--time-calls", type=int, default=10, help="with --speed-only: calls that are timed")
    add("--k", type=int, default=20, help="with --speed-only: items that are recommended")
    return parser.parse_args(arguments)


def main() -> None:
    """Train, rank, write."""
    options = parse()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    split = read_split(options.run)
    model, watch = train(split, options)
    found = report(split, model, watch, options)
    options.out.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
