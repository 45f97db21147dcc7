"""The stronger baseline: the same TRM, fitted on everything before validation.

DeepRec learns from the RL (and script) targets, which its own TRM never saw. A fair rival
has seen them too.
"""

from __future__ import annotations

import time

from deeprec import stages
from deeprec.data.dataset import Dataset
from deeprec.data.split import refit_data
from deeprec.ledger import write_ledger
from deeprec.run import Run, writes
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.kinds import NETWORKS, build_retriever, check_kind
from deeprec.trm.retriever import TRM
from deeprec.trm.stage import fit_checkpoint, fit_network, require_fit_space, stage_inputs

STAGE = stages.TRM_REFIT


@writes
def run_trm_refit(run: Run, dataset: Dataset) -> ExplorableRetriever:
    """Fit the refitted TRM and save it to `run.trm_refit`, or load it if it is up to date."""
    check_kind(run.config.trm)
    inputs = stage_inputs(run, dataset, STAGE)
    is_fitted = run.config.trm.kind in NETWORKS  # others leave nothing
    if run.is_current(STAGE, inputs.fingerprint) and (
        not is_fitted or (run.trm_refit / "trm.json").is_file()
    ):
        return load_trm_refit(run, dataset)
    inputs.refuse_earlier(run)
    started = time.monotonic()
    cache = run.trm_refit / "cache"
    encoder = build_text_encoder(run.config.trm, dataset.catalog, run.config.fit_seed, cache)
    require_fit_space(run, STAGE, dataset, encoder)
    inputs.begin(run)  # what is refused is refused before: the TRM that is there stays
    checkpoint = fit_checkpoint(run.trm_refit, inputs.fingerprint)
    earlier = checkpoint.seconds
    if is_fitted:
        fit_network(run, inputs, refit_data(dataset), encoder, run.trm_refit, checkpoint)
    else:
        write_ledger(run, STAGE, refit_data(dataset).fit_histories())
    inputs.finish(run, (earlier + time.monotonic() - started) / 60)
    checkpoint.remove()
    return load_trm_refit(run, dataset)


def load_trm_refit(run: Run, dataset: Dataset) -> ExplorableRetriever:
    """The refitted TRM; one of another kind than ours is built from the data each time.

    Raises RunError naming the command if it has not been fitted.
    """
    import torch

    run.require(STAGE)
    if run.config.trm.kind in NETWORKS:
        return TRM.load(run.trm_refit, dataset.catalog, "cuda" if torch.cuda.is_available() else "cpu")
    encoder = build_text_encoder(
        run.config.trm, dataset.catalog, run.config.fit_seed, run.trm_refit / "cache"
    )
    return build_retriever(refit_data(dataset), run.config.trm, encoder)
