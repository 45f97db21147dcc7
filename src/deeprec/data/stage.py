"""The data stage of a run: prepare once, then read what was prepared."""

from __future__ import annotations

import time
from pathlib import Path

from deeprec.config import DataConfig, RunConfig
from deeprec.contents import module_files, present
from deeprec.data import synthetic, world
from deeprec.data.dataset import Dataset
from deeprec.data.files import source_exists, source_files
from deeprec.data.format import FORMAT, dataset_size, read_dataset, write_dataset
from deeprec.data.prepare import prepare
from deeprec.inputs import Inputs, constants_of
from deeprec.run import Run, fingerprint, writes
from deeprec.space import LOGS, require_space


@writes
def run_data(run: Run, cache: Path | None = None) -> Dataset:
    """The run's data set; prepared only if settings or source files changed since.

    Where the source lies does not matter, what is in it does. A source that is no longer
    there is no reason to prepare again.
    """
    config = run.config.data
    inputs = stage_inputs(run.config)
    state = _source_state(config)
    record = run.finished().get("data", {})
    if run.is_current("data", inputs.fingerprint) and state in (None, record.get("source_state")):
        return read_dataset(run.data)
    inputs.refuse_earlier(run)  # before minutes of reading
    started = time.perf_counter()
    dataset = prepare(config, config.synthetic.seed, cache)
    require_space(run.folder, dataset_size(dataset) + LOGS, "stage 'data'")
    inputs.begin(run)
    write_dataset(dataset, run.data)
    minutes = (time.perf_counter() - started) / 60
    inputs.finish(run, minutes, fingerprint=dataset.fingerprint, source_state=state)
    return dataset


def load_data(run: Run) -> Dataset:
    """The data set as prepared before; raises RunError naming the command when it was not."""
    run.require("data", f"deeprec data prepare {run.config.data.name}")
    return read_dataset(run.data)


def stage_inputs(config: RunConfig) -> Inputs:
    """What a prepared set depends on, besides the content of its source."""
    simulated = constants_of(synthetic, world) if config.data.name == "synthetic" else None
    own = present(your_reader=module_files([config.data.name]))
    return Inputs.of(config, "data", format=FORMAT, simulation=simulated, **own)


def _source_state(config: DataConfig) -> str | None:
    """Checksum over the named source files; None when none is named or one is gone."""
    paths = [
        Path(path).expanduser() for path in (config.source, config.items, config.users) if path is not None
    ]
    if not paths or not all(map(source_exists, paths)):
        return None
    return fingerprint([(file.name, file.sha256) for file in source_files(*paths)])
