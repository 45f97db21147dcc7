"""Stages that another run has finished with the same inputs are taken from there, not made again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from copy import copy
from pathlib import Path

from deeprec import stages
from deeprec.data.dataset import Dataset
from deeprec.disk import read_jsonl, rewrite_jsonl, whole_folder
from deeprec.rl.warm_start import READING_LOG
from deeprec.rl.warm_start import STAGE as WARM_START
from deeprec.run import Run
from deeprec.stages import READING
from deeprec.trm.kinds import NETWORK
from deeprec.trm.published import PUBLISHED, PublishedNetwork
from deeprec.trm.retriever import TRM
from deeprec.trm.stage import load_fitted, save_network, stage_inputs
from deeprec.trm.training import fit_preferences


def share(run: Run, stage: str, inputs: str, donors: Sequence[Run]) -> None:
    """Take a stage from the first of `donors` that has finished it with these inputs; none: do nothing.

    Files are linked where the file system can, copied where not: no stage writes into a file
    that it finished. The rows that the stage logged come along.
    """
    folder = stage_folder(run, stage)
    if run.is_current(stage, inputs) and folder.is_dir():
        return
    donor = next(
        (
            other
            for other in donors
            if other.is_current(stage, inputs) and stage_folder(other, stage).is_dir()
        ),
        None,
    )
    if donor is None:
        return
    run.begin(stage)
    _take(stage_folder(donor, stage), folder)
    _copy_rows(donor, run, stage)
    if stage == WARM_START and donor.policy(READING).is_dir():
        _take(donor.policy(READING), run.policy(READING))
        _copy_rows(donor, run, READING_LOG)
    run.record(stage, {**donor.finished()[stage], "shared": os.path.relpath(donor.folder, run.folder)})


def share_reading(run: Run, donors: Sequence[Run]) -> None:
    """Take what a donor with the same seed has read; the warm start reads again where its inputs differ."""
    if not run.config.warm_start.reads or run.policy(READING).is_dir():
        return
    for donor in donors:
        if donor.config.seed == run.config.seed and donor.policy(READING).is_dir():
            _take(donor.policy(READING), run.policy(READING))
            _copy_rows(donor, run, READING_LOG)
            return


def share_encoder(run: Run, dataset: Dataset, donors: Sequence[Run]) -> None:
    """Fit the published fusion on the encoder of one of `donors`; no fitting encoder: do nothing.

    Gives the TRM that a fit from the beginning would: the encoder's training is the same for both kinds.
    """
    inputs = stage_inputs(run, dataset)
    if run.config.trm.kind != PUBLISHED or run.is_current(stages.TRM, inputs.fingerprint):
        return
    plain = run.config.model_copy(update={"trm": run.config.trm.model_copy(update={"kind": NETWORK})})
    wanted = stage_inputs(Run(run.folder, plain), dataset).fingerprint
    donor = next((other for other in donors if other.is_current(stages.TRM, wanted)), None)
    if donor is None:
        return
    inputs.begin(run)
    started = time.monotonic()
    found = load_fitted(Run(donor.folder, plain), dataset)
    if not isinstance(found, TRM):  # a network was fitted with these inputs, so this can't be
        return
    network = PublishedNetwork(found.network.encoder, found.encoder.dim).to(found.device)
    trm = copy(found)  # whatever else it was fitted with stays
    trm.network, trm.config = network.eval(), run.config.trm
    trm.refresh()
    fit_preferences(trm, dataset, run.config.fit_seed)
    save_network(trm, run.trm, donor.trm / "cache")
    inputs.finish(run, (time.monotonic() - started) / 60)


def stage_folder(run: Run, stage: str) -> Path:
    """What a stage leaves, and a later one reads."""
    return {stages.DATA: run.data, stages.TRM: run.trm}.get(stage, run.policy(stage))


def _take(source: Path, target: Path) -> None:
    with whole_folder(target) as part:
        shutil.copytree(source, part, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _copy_rows(donor: Run, run: Run, stage: str) -> None:
    found = [row for row in read_jsonl(donor.metrics) if row.get("stage") == stage]
    rewrite_jsonl(run.metrics, lambda rows: [row for row in rows if row.get("stage") != stage] + found)
