"""The `trm` stage of a run: fit once, save, load."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from deeprec.config import TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import RunError
from deeprec.run import Run, append_jsonl, fingerprint, whole_folder
from deeprec.trm.retriever import TRM
from deeprec.trm.text import build_text_encoder
from deeprec.trm.training import fit


def run_trm(run: Run, dataset: Dataset) -> TRM:
    """Fit the TRM and save it to `run.trm`, or load it if neither data nor settings changed.

    Epochs are appended to `run.metrics`. An interrupted fit leaves the former TRM's files,
    but not its record: the stage runs again.
    """
    inputs = stage_inputs(run, dataset)
    if run.is_current("trm", inputs) and (run.trm / "trm.json").is_file():
        return load_trm(run, dataset)
    run.begin("trm")
    started = time.monotonic()
    best: dict[str, Any] = {}

    def log(record: dict[str, Any]) -> None:
        append_jsonl(run.metrics, record)
        if record.get("ndcg", -1.0) > best.get("ndcg", -2.0):
            best.update(record)

    config = run.config.trm
    cache = run.trm / "cache"
    encoder = build_text_encoder(config, dataset.catalog, run.config.seed, cache)
    trm = fit(dataset, encoder, config, seed=run.config.seed, log=log)
    _save(trm, run.trm, cache)
    facts = {key: best[key] for key in ("epoch", "ndcg", "median_rank", "ndcg_true_phrase") if key in best}
    run.finish("trm", inputs, (time.monotonic() - started) / 60, validation=facts)
    return load_trm(run, dataset)


def load_trm(run: Run, dataset: Dataset) -> TRM:
    """The fitted TRM of a run.

    Raises RunError if the stage has not been run, RetrievalError if the checkpoint is broken
    or belongs to another catalogue or text encoder.
    """
    import torch

    run.require("trm", "deeprec trm fit")
    if not run.trm.is_dir():
        raise RunError(f"{run.trm}: is gone; run `deeprec trm fit --run {run.folder}`")
    return TRM.load(run.trm, dataset.catalog, "cuda" if torch.cuda.is_available() else "cpu")


def stage_inputs(run: Run, dataset: Dataset) -> str:
    """What the fit depends on: data, settings, seed."""
    settings: TRMConfig = run.config.trm
    return fingerprint(dataset.fingerprint, settings.model_dump(), run.config.seed)


def _save(trm: TRM, folder: Path, cache: Path) -> None:
    from safetensors import SafetensorError

    try:
        with whole_folder(folder) as part:
            trm.save(part)
            if cache.is_dir():
                shutil.copytree(cache, part / "cache")
    except (OSError, SafetensorError) as error:
        raise RunError(f"{folder}: the TRM can't be written ({error}); free space, then run again") from None
