"""The `trm` stage of a run: fit once, save, load."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from deeprec.config import TRMConfig
from deeprec.contents import model_files, present
from deeprec.data.dataset import Dataset
from deeprec.disk import read_json, whole_folder
from deeprec.errors import RetrievalError, RunError
from deeprec.inputs import Inputs, constants_of
from deeprec.ledger import write_ledger
from deeprec.run import Run, writes
from deeprec.space import LOGS, require_space
from deeprec.threads import stage_threads
from deeprec.trm import (
    bank,
    index,
    periods,
    phrases,
    published,
    steering,
    talk,
    text,
    training,
    vectors,
    windows,
)
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.encoders import build_text_encoder, load_text_encoder
from deeprec.trm.kinds import NETWORK, NETWORKS, build_retriever, check_kind, source_fingerprint
from deeprec.trm.mentions import MentioningTRM
from deeprec.trm.resuming import EpochCheckpoint, FitLog, checkpoint_size
from deeprec.trm.retriever import TRM, build_network
from deeprec.trm.text import CachedEncoder
from deeprec.trm.training import fit

# Where numbers stand that another TRM would come of.
_RECIPE = (bank, index, periods, phrases, published, steering, talk, text, training, vectors, windows)


@writes
def run_trm(run: Run, dataset: Dataset) -> ExplorableRetriever:
    """Fit the TRM and save it to `run.trm`, or load it if neither data nor settings changed.

    A TRM of another kind than ours (`trm.kind`) is built from the data set each time it is
    loaded; only its text encoder is kept.

    Epochs are appended to `run.metrics`. An interrupted fit leaves the former TRM's files, but not its
    record: it goes on from its checkpoint, and ends as an uninterrupted one.
    """
    check_kind(run.config.trm)
    inputs = stage_inputs(run, dataset)
    if run.is_current("trm", inputs.fingerprint) and (run.trm / "trm.json").is_file():
        return load_trm(run, dataset)
    inputs.refuse_earlier(run)
    started = time.monotonic()
    config = run.config.trm
    encoder = build_text_encoder(config, dataset.catalog, run.config.fit_seed, run.trm / "cache")
    require_fit_space(run, "trm", dataset, encoder)
    inputs.begin(run)  # an encoder that can't be had is refused before: the TRM that is there stays
    checkpoint = fit_checkpoint(run.trm, inputs.fingerprint)
    earlier = checkpoint.seconds
    best: dict[str, Any] = {}
    if config.kind in NETWORKS:
        best = fit_network(run, inputs, dataset, encoder, run.trm, checkpoint)
    else:
        write_ledger(run, "trm", dataset.fit_histories())
        _save_other(build_retriever(dataset, config, encoder), config, dataset, encoder, run.trm)
    facts = {
        key: best[key] for key in ("epoch", "ndcg", "median_rank", "median_rank_true_phrase") if key in best
    }
    inputs.finish(run, (earlier + time.monotonic() - started) / 60, validation=facts)
    checkpoint.remove()
    return load_trm(run, dataset)


def fit_network(
    run: Run,
    inputs: Inputs,
    dataset: Dataset,
    encoder: CachedEncoder,
    folder: Path,
    checkpoint: EpochCheckpoint,
) -> dict[str, Any]:
    """Fit our network for the stage that `inputs` are of, and save it to `folder`; the figures of its best epoch."""
    log = FitLog(run, inputs.stage, checkpoint)
    fitted = fit(
        dataset,
        encoder,
        run.config.trm,
        seed=run.config.fit_seed,
        log=log,
        witness=partial(write_ledger, run, inputs.stage),
        threads=partial(stage_threads, run, inputs.stage, inputs.fingerprint),
        checkpoint=checkpoint,
    )
    save_network(fitted, folder, folder / "cache")
    return log.best


def fit_checkpoint(folder: Path, inputs: str) -> EpochCheckpoint:
    """Where a fit that leaves its result at `folder` keeps what it goes on from."""
    return EpochCheckpoint(folder.with_name(f"{folder.name}.checkpoints") / inputs)


def require_fit_space(run: Run, stage: str, dataset: Dataset, encoder: CachedEncoder) -> None:
    """Raise RunError where the disk has no room for the network, its checkpoints and the encoder."""
    import torch

    if run.config.trm.kind in NETWORKS:
        with torch.device("meta"):  # nothing is allocated
            network = build_network(run.config.trm, dataset.catalog.n_items, encoder.dim)
        whole = sum(weight.numel() * weight.element_size() for weight in network.parameters())
        size = checkpoint_size(network.encoder) + whole + encoder.size
    else:
        size = encoder.size
    held = [run.folder / f"{folder}.checkpoints" for folder in (run.trm.name, run.trm_refit.name)]
    require_space(run.folder, size + LOGS, f"stage '{stage}'", held)


def load_trm(run: Run, dataset: Dataset) -> ExplorableRetriever:
    """The fitted TRM of a run, or what its settings name in its place; it answers exclusions and named titles, too.

    Raises RunError if the stage has not been run, RetrievalError if the checkpoint is broken
    or belongs to another catalogue or text encoder.
    """
    return MentioningTRM(load_fitted(run, dataset), dataset.catalog)


def load_fitted(run: Run, dataset: Dataset) -> ExplorableRetriever:
    """The same as it was fitted: it takes an exclusion for any other phrase."""
    import torch

    run.require("trm")
    if not run.trm.is_dir():
        raise RunError(f"{run.trm}: is gone; run `deeprec trm fit --run {run.folder}`")
    config = run.config.trm
    _check_saved(run, dataset)
    if config.kind in NETWORKS:
        return TRM.load(run.trm, dataset.catalog, "cuda" if torch.cuda.is_available() else "cpu")
    return build_retriever(dataset, config, load_text_encoder(run.trm, run.trm / "cache"))


def stage_inputs(run: Run, dataset: Dataset, stage: str = "trm") -> Inputs:
    """What the fit depends on; a TRM fitted on other parts of the data (`stage`) depends on the same."""
    inputs = Inputs.of(
        run.config,
        "trm",
        data=dataset.fingerprint,
        files=source_fingerprint(run.config.trm),
        constants_of_the_TRM=constants_of(*_RECIPE),
        **present(text_encoder=model_files(run.config.trm.text_encoder)),
    )
    return replace(inputs, stage=stage)


def _save_other(
    trm: ExplorableRetriever, config: TRMConfig, dataset: Dataset, encoder: CachedEncoder, folder: Path
) -> None:
    """What tells later loads apart: kind and catalogue, and the encoder that texts are embedded with."""
    trm.text_vectors()  # fills the encoder's cache, and fails now rather than in training
    facts = {"kind": config.kind, "catalog": dataset.catalog.fingerprint, "n_items": trm.n_items}
    with whole_folder(folder) as part:
        (part / "trm.json").write_text(json.dumps(facts), encoding="utf-8")
        encoder.save(part)
        if (folder / "cache").is_dir():
            shutil.copytree(folder / "cache", part / "cache")


def _check_saved(run: Run, dataset: Dataset) -> None:
    """Raise RetrievalError for a checkpoint of another kind or catalogue."""
    file = run.trm / "trm.json"
    again = f"run `deeprec trm fit --run {run.folder}`"
    if not file.is_file():
        raise RetrievalError(f"{run.trm}: no fitted TRM here (no trm.json); {again}")
    try:
        facts = read_json(file)
    except (OSError, ValueError) as error:
        raise RetrievalError(f"{file}: not readable ({error}); {again}") from None
    kind = facts.get("kind") or facts.get("config", {}).get("kind", NETWORK)
    if kind != run.config.trm.kind:
        raise RetrievalError(
            f"{file}: holds a TRM of kind '{kind}', trm.kind = '{run.config.trm.kind}'; {again}"
        )
    if kind not in NETWORKS and facts.get("catalog") != dataset.catalog.fingerprint:
        raise RetrievalError(
            f"{file}: this TRM was made for another catalogue ({facts.get('n_items')} items; "
            f"here {dataset.catalog.n_items}); {again}"
        )


def save_network(trm: TRM, folder: Path, cache: Path) -> None:
    """Write a fitted TRM with its cached texts; the folder appears whole or not at all."""
    with whole_folder(folder) as part:
        trm.save(part)
        if cache.is_dir():
            shutil.copytree(cache, part / "cache")
