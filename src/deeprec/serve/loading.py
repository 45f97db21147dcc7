"""From run folders to a service: which policy answers, on which engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deeprec.config import override_config
from deeprec.disk import read_json
from deeprec.errors import EngineError, RunError
from deeprec.locks import writing
from deeprec.pipeline import load_stages
from deeprec.run import Run
from deeprec.serve.measures import Measures
from deeprec.serve.served import ServedRun
from deeprec.serve.service import Service
from deeprec.serve.users import StoreDoor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deeprec.data.dataset import Dataset
    from deeprec.rollout.environment import Environment
    from deeprec.trm.base import ExplorableRetriever


@dataclass(frozen=True)
class Remote:
    """A policy behind an OpenAI-compatible server; `context` in tokens, none: as the policy's folder says."""

    base_url: str
    model: str
    api_key: str | None = None
    context: int | None = None


@dataclass(frozen=True)
class Plan:
    """What is served: the first run is the default, the only one that `stage` and `remote` concern.

    `overrides` change settings for this service alone.
    """

    folders: tuple[Path, ...]
    stage: str | None = None
    remote: Remote | None = None
    overrides: tuple[str, ...] = ()

    def opened(self) -> list[tuple[str, Run]]:
        """The runs as they are now, each called as its folder; nothing of them is loaded.

        Raises RunError for two of one name, and for a stage that hasn't been run.
        """
        names = [folder.resolve().name for folder in self.folders]
        for name in names:
            if names.count(name) > 1:
                raise RunError(f"two runs are called '{name}'; rename the folder of one, or serve it alone")
        runs = [_opened(folder.resolve(), self.overrides) for folder in self.folders]
        if self.stage is not None:
            runs[0].require(self.stage)
        return list(zip(names, runs, strict=True))

    def load(self, door: StoreDoor, measures: Measures) -> tuple[ServedRun, ...]:
        """The runs, ready to answer; raises what is wrong with one of them, and leaves no thread behind."""
        made = []
        for number, (name, run) in enumerate(self.opened()):
            stage, remote = (self.stage, self.remote) if number == 0 else (None, None)
            made.append((name, run, *_environment(run, stage, remote)))
        return tuple(
            ServedRun(name, run, environment, stage, door, measures) for name, run, environment, stage in made
        )

    def load_again(self, door: StoreDoor, measures: Measures) -> tuple[ServedRun, ...]:
        """The same while others may be writing: raises RunLocked where a training is at work in one of the runs."""
        with ExitStack() as held:
            for _, run in self.opened():
                if os.access(run.folder, os.W_OK):
                    held.enter_context(writing(run.folder, beside=True))
            return self.load(door, measures)


def open_service(plan: Plan, store: str | None = None) -> tuple[Service, str | None]:
    """The service of these runs before they are loaded, and what is wrong with its store if that is away now.

    `store` is a URL; none: a file in the first run's folder. Raises StoreError for a store that can't be used.
    """
    runs = plan.opened()
    _, first = runs[0]
    door = StoreDoor(store or f"sqlite:///{first.folder / 'store.db'}")
    trouble = door.try_open()
    measures = Measures()
    service = Service(
        (),
        door,
        measures,
        first.config.serve,
        load=lambda: plan.load(door, measures),
        load_again=lambda: plan.load_again(door, measures),
    )
    return service, None if trouble is None else str(trouble)


def load_service(
    folders: Sequence[Path],
    *,
    store: str | None = None,
    stage: str | None = None,
    remote: Remote | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Service, str | None]:
    """A service whose runs are loaded; see `Plan` and `open_service`."""
    service, trouble = open_service(Plan(tuple(folders), stage, remote, tuple(overrides)), store)
    service.load()
    return service, trouble


def _opened(folder: Path, overrides: Sequence[str]) -> Run:
    run = Run.open(folder)
    # Not written down: another training of this run must not find the service's settings.
    return Run(run.folder, override_config(run.config, overrides))


def _environment(run: Run, stage: str | None, remote: Remote | None) -> tuple[Environment, str]:
    """What episodes run in, and the stage whose policy it is."""
    from deeprec.policy.environment import build_environment
    from deeprec.policy.loading import load_policy

    dataset, trm = load_stages(run)
    folder = run.last_policy() if stage is None else run.policy(stage)
    if remote is not None:
        return _remote_environment(run, folder, remote, dataset, trm), folder.name
    policy = load_policy(str(folder), run.config.policy)
    _take_into_memory(policy.model)
    return build_environment(run, dataset, trm, policy), folder.name


def _take_into_memory(model: PreTrainedModel) -> None:
    """Copy weights that are a view of their file: whoever wrote over that would kill the service by a signal."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def _remote_environment(
    run: Run, folder: Path, remote: Remote, dataset: Dataset, trm: ExplorableRetriever
) -> Environment:
    """The run's tokenizer here, its weights elsewhere."""
    from deeprec.policy.environment import build_remote_environment
    from deeprec.policy.loading import load_tokenizer
    from deeprec.rollout.codec import TokenizerCodec
    from deeprec.rollout.engines.openai import OpenAIEngine

    codec = TokenizerCodec(load_tokenizer(str(folder)))
    engine = OpenAIEngine(
        remote.base_url,
        remote.model,
        codec,
        context_length=remote.context or _context_of(folder),
        api_key=remote.api_key,
        parallel=run.config.serve.in_flight,
        timeout=run.config.serve.max_deadline,
        seed=run.config.seed,
    )
    return build_remote_environment(run, dataset, trm, engine, codec, folder)


def _context_of(folder: Path) -> int:
    file = folder / "config.json"
    try:
        found = read_json(file).get("max_position_embeddings")
    except (OSError, ValueError) as error:
        raise EngineError(f"{file}: can't be read ({error}); give --context TOKENS") from None
    if not isinstance(found, int):
        raise EngineError(f"{file}: doesn't say how long the policy's context is; give --context TOKENS")
    return found
