"""Which rivals there are, and the stage that fits one.

A rival is fitted on everything before validation: DeepRec has learned from the RL targets, so a fair
rival has seen them too. Its files lie in `RUN/rivals/NAME`, its record in `stages.json`
under `rival:NAME`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from deeprec.contents import module_files, present
from deeprec.data.dataset import Dataset
from deeprec.data.split import refit_data
from deeprec.disk import whole_folder
from deeprec.errors import ConfigError, EvaluationError
from deeprec.inputs import Inputs
from deeprec.ledger import write_ledger
from deeprec.locks import hold, writing
from deeprec.methods import RIVALS, find_method
from deeprec.recommender import Recommender
from deeprec.references import check_members, load_reference
from deeprec.run import Run
from deeprec.space import LOGS, require_space
from deeprec.stages import DATA, RIVAL, TRM
from deeprec.trm.base import ExplorableRetriever
from deeprec.types import Example


@dataclass(frozen=True, slots=True)
class Rival:
    """How one rival is fitted and loaded; what it is called stands in `methods.METHODS`.

    `others` gives the plain values that its fit depends on, by name, besides data, TRM and the settings
    that say so themselves (`settings/effect.py`). `fit`
    gets the data set with everything before validation in its fit part, writes what it learned
    into an empty folder, and returns facts for `stages.json`. `load` gets the same data set and
    that folder. `space` gives the bytes that a fit needs on the disk besides logs, where they are many. `check`
    gets what `fit` gets, without a folder, and raises what would stop it: a rival that is there stays then.
    """

    summary: str
    others: Callable[[Run], Mapping[str, Any]]
    fit: Callable[[Run, Dataset, ExplorableRetriever, Path], dict[str, Any]]
    load: Callable[[Run, Dataset, ExplorableRetriever, Path], Recommender]
    space: Callable[[Run, Dataset], int] = lambda run, dataset: 0
    check: Callable[[Run, Dataset, ExplorableRetriever], None] = lambda run, dataset, trm: None


@runtime_checkable
class Explains(Protocol):
    """A Recommender that reads and writes text, and can show both."""

    def explain(self, example: Example) -> str:
        """What the model reads for `example` and what it writes, for a person to read.

        Several lines without a newline at the end. Never looks at `Example.target`.
        """
        ...


def find_rival(name: str) -> Rival:
    """The rival of that name, ours or `package.module:name`.

    Raises EvaluationError naming the nearest known one, ConfigError for one of your own that can't be used.
    """
    found = load_reference(find_method(name, RIVALS, "rival").rival or "", "rival")
    if not isinstance(found, Rival):
        raise ConfigError(
            f"rival = '{name}': is a {type(found).__name__}; name a deeprec.rivals.registry.Rival"
        )
    return found


def run_rival(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> None:
    """Fit a rival into its folder, unless it is up to date. Others may be fitted at the same time.

    Raises EvaluationError for an unknown rival, RunLocked while another process fits it or writes into the run.
    """
    find_rival(name)
    folder = run.rival(name)
    with writing(run.folder, beside=True), hold(folder.with_name(f"{folder.name}.lock"), folder):
        _run_rival(run, dataset, trm, name)


def _run_rival(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> None:
    rival = find_rival(name)
    stage, folder = RIVAL + name, run.rival(name)
    inputs = rival_inputs(run, name, rival)
    if run.is_current(stage, inputs.fingerprint) and folder.is_dir():
        return
    inputs.refuse_earlier(run)
    known = refit_data(dataset)
    rival.check(run, known, trm)
    checkpoints = folder.with_name(f"{folder.name}.checkpoints")
    require_space(run.folder, rival.space(run, dataset) + LOGS, f"rival '{name}'", [checkpoints])
    inputs.begin(run)
    started = time.monotonic()
    write_ledger(run, stage, known.fit_histories())
    with whole_folder(folder) as part:
        facts = rival.fit(run, known, trm, part)
        if not isinstance(facts, dict):
            raise ConfigError(
                f"rival = '{name}': its fit gave a {type(facts).__name__}; give a dict of facts"
            )
    inputs.finish(run, (time.monotonic() - started) / 60, **facts)
    shutil.rmtree(checkpoints, ignore_errors=True)  # last: until then a full disk costs no training


def rival_inputs(run: Run, name: str, rival: Rival) -> Inputs:
    """What a rival's fit depends on."""
    finished = run.finished()
    before = {"data": finished[DATA]["inputs"], "TRM": finished[TRM]["inputs"]}
    own = present(your_rival=module_files([name]))
    return Inputs.of(run.config, RIVAL + name, **before, **own, **rival.others(run))


def load_rival(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """A fitted rival; raises RunError naming the command that fits it."""
    rival = find_rival(name)
    run.require(RIVAL + name)
    found = rival.load(run, refit_data(dataset), trm, run.rival(name))
    check_members(found, "Recommender", ("name", "recommend"), f"rival = '{name}'")
    if found.name != name:
        raise ConfigError(
            f"rival = '{name}': its recommender calls itself '{found.name}'; tables want '{name}'"
        )
    return found


def explain_rival(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str, example: Example) -> str:
    """What a fitted rival reads and writes for `example`; raises EvaluationError for one without text."""
    recommender = load_rival(run, dataset, trm, name)
    if not isinstance(recommender, Explains):
        raise EvaluationError(
            f"rival '{name}' reads no text, so there is nothing to show; "
            f"`deeprec evaluate --methods {name}` gives its rankings"
        )
    return recommender.explain(example)
