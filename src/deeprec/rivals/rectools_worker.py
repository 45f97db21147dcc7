"""Fits and asks RecTools' transformers, in an interpreter of its own (`make peers`).

Imports nothing of deeprec, which wants another numpy. `rectools.py` writes what it reads, and reads what
it writes: JSON and npz files in one folder, no pickle.

    python -P rectools_worker.py fit FOLDER             job.json, fit.npz, validation.npz -> weights.npz, fit.json
    python -P rectools_worker.py rank FOLDER ASKED OUT  histories in ASKED (npz) -> best items in OUT (npz)

Histories are two arrays: `items`, one behind the other, and `ends` (U,), where each one ends.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

MODELS = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel}
_START = pd.Timestamp("2000-01-01")


class KeepBest(Callback):  # type: ignore[misc]  # Lightning is not there to be checked
    """Keeps the weights of the epoch with the lowest validation loss, and stops when there is none lower."""

    def __init__(self, patience: int, minutes: float) -> None:
        self.patience = patience
        self.minutes = minutes
        self.losses: list[float] = []
        self.weights: dict[str, Any] | None = None  # arrays
        self.stopped = "epochs"
        self._started = time.monotonic()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """After each epoch of training."""
        if trainer.sanity_checking:
            return
        loss = float(trainer.callback_metrics["val_loss"])
        if not self.losses or loss < min(self.losses):
            state = pl_module.torch_model.state_dict()
            self.weights = {name: value.detach().cpu().numpy().copy() for name, value in state.items()}
        self.losses.append(loss)
        print(f"epoch {len(self.losses)}: validation loss {loss:.4f}", file=sys.stderr, flush=True)
        waited = len(self.losses) - 1 - int(np.argmin(self.losses))
        late = time.monotonic() - self._started > 60 * self.minutes
        if waited >= self.patience or late:
            self.stopped = "patience" if waited >= self.patience else "minutes"
            trainer.should_stop = True

    def __deepcopy__(self, memo: dict[int, Any]) -> KeepBest:
        return self  # RecTools copies its trainer; the record shall stay in one place


def read_histories(file: Path) -> list[np.ndarray]:
    """Item indices of each history, oldest first."""
    with np.load(file, allow_pickle=False) as stored:
        return np.split(stored["items"], stored["ends"][:-1])


def frame(histories: list[np.ndarray], held_out: np.ndarray | None = None) -> pd.DataFrame:
    """Interactions as RecTools wants them; users are row numbers, `held_out` (U,) their last items, 0 for none.

    The place in the data is the order: real times tie, and ties are settled by deeprec.
    """
    users = np.repeat(np.arange(len(histories)), [len(items) for items in histories])
    items = np.concatenate(histories) if histories else np.zeros(0, np.int64)
    last = np.flatnonzero(held_out) if held_out is not None else np.zeros(0, np.int64)
    if held_out is not None:
        users, items = np.concatenate([users, last]), np.concatenate([items, held_out[last]])
    return pd.DataFrame(
        {
            Columns.User: users,
            Columns.Item: items.astype(np.int64),
            Columns.Weight: 1.0,
            Columns.Datetime: _START + pd.to_timedelta(np.arange(len(users)), unit="s"),
        }
    )


def held_out_rows(interactions: pd.DataFrame, rows: int) -> np.ndarray:
    """Marks the last `rows` interactions by time: those that only stop the training."""
    border = interactions[Columns.Datetime].sort_values().iloc[-rows] if rows else None
    return (
        (interactions[Columns.Datetime] >= border).to_numpy() if rows else np.zeros(len(interactions), bool)
    )


def build(job: dict[str, Any], epochs: int, rows: int, watch: KeepBest | None) -> Any:
    """The model that the job describes; with no epochs it is only put together."""

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=epochs, accelerator="gpu" if torch.cuda.is_available() else "cpu", devices=1,
            logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, callbacks=[watch] if watch else [],
        )  # fmt: skip

    return MODELS[job["model"].removeprefix("rectools-")](
        n_blocks=job["blocks"], n_heads=job["heads"], n_factors=job["width"], dropout_rate=job["dropout"],
        session_max_len=job["history"], batch_size=job["users_per_step"], lr=job["learning_rate"],
        get_trainer_func=trainer, get_val_mask_func=held_out_rows, get_val_mask_func_kwargs={"rows": rows},
    )  # fmt: skip


def fit(folder: Path) -> None:
    """Train, and write the weights of the best epoch."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "validation.npz", allow_pickle=False) as stored:
        held_out = stored["items"]
    seed_everything(job["seed"])
    watch = KeepBest(job["patience"], job["minutes"])
    model = build(job, job["epochs"], int(np.count_nonzero(held_out)), watch)
    model.fit(Dataset.construct(frame(read_histories(folder / "fit.npz"), held_out)))
    if watch.weights is None:
        raise SystemExit("no epoch was finished: there are no validation targets that the fit part knows")
    np.savez(folder / "weights.npz", **watch.weights)
    facts = {"epochs": len(watch.losses), "best_epoch": int(np.argmin(watch.losses)) + 1,
             "validation_loss": min(watch.losses), "stopped": watch.stopped}  # fmt: skip
    (folder / "fit.json").write_text(json.dumps(facts), encoding="utf-8")


def rank(folder: Path, asked: Path, out: Path) -> None:
    """The best `lists` items of each history, without those in it unless repeats are allowed; 0 where none is left."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    model = build(job, 0, 0, None)
    model.fit(Dataset.construct(frame(read_histories(folder / "fit.npz"))))
    with np.load(folder / "weights.npz", allow_pickle=False) as stored:
        weights = {name: torch.from_numpy(stored[name]) for name in stored.files}
    model.lightning_model.torch_model.load_state_dict(weights)
    histories = read_histories(asked)
    known = np.isin(np.concatenate(histories), model.data_preparator.get_known_item_ids())
    owners = np.repeat(np.arange(len(histories)), [len(items) for items in histories])
    users = np.unique(owners[known])  # RecTools ranks for those alone of whom it knows an item
    lists = np.zeros((len(histories), job["lists"]), np.int64)
    if len(users):
        found = model.recommend(
            users=users, dataset=Dataset.construct(frame(histories)), k=job["lists"],
            filter_viewed=not job["allow_repeats"],
        )  # fmt: skip
        lists[found[Columns.User].to_numpy(), found[Columns.Rank].to_numpy() - 1] = found[Columns.Item]
    np.savez(out, lists=lists)


def main() -> None:
    """Run one of the two commands."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    command, folder, *files = sys.argv[1:]
    if command == "fit":
        fit(Path(folder))
    else:
        rank(Path(folder), Path(files[0]), Path(files[1]))


if __name__ == "__main__":
    main()
