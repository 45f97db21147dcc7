"""From run folders to a service: which policy answers, on which engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deeprec.config import override_config
from deeprec.errors import EngineError, RunError
from deeprec.pipeline import load_stages
from deeprec.run import Run
from deeprec.serve.measures import Measures
from deeprec.serve.served import ServedRun
from deeprec.serve.service import Service
from deeprec.serve.users import StoreDoor

if TYPE_CHECKING:
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


def load_service(
    folders: Sequence[Path],
    *,
    store: str | None = None,
    stage: str | None = None,
    remote: Remote | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Service, str | None]:
    """The service of these runs, and what is wrong with its store if that can't be reached just now.

    The first run is the default, the only one that `stage` and `remote` concern; runs are
    called as their folders. `store` is a URL; none: a file in the first run's folder.
    `overrides` change settings for this service alone. Raises RunError for two runs of one
    name, StoreError for a store that can't be used.
    """
    names = [folder.resolve().name for folder in folders]
    for name in names:
        if names.count(name) > 1:
            raise RunError(f"two runs are called '{name}'; rename the folder of one, or serve it alone")
    runs = [_opened(folder, overrides) for folder in folders]
    door = StoreDoor(store or f"sqlite:///{runs[0].folder.resolve() / 'store.db'}")
    trouble = door.try_open()
    measures = Measures()
    served = []
    for number, (name, run) in enumerate(zip(names, runs, strict=True)):
        chosen, server = (stage, remote) if number == 0 else (None, None)
        environment, called = _environment(run, chosen, server)
        served.append(ServedRun(name, run, environment, called, door, measures))
    return Service(tuple(served), door, measures), None if trouble is None else str(trouble)


def _opened(folder: Path, overrides: Sequence[str]) -> Run:
    run = Run.open(folder)
    # Not written down: another training of this run must not find the service's settings.
    return Run(run.folder, override_config(run.config, overrides))


def _environment(run: Run, stage: str | None, remote: Remote | None) -> tuple[Environment, str]:
    """What episodes run in, and the stage whose policy it is."""
    from deeprec.policy.environment import build_environment
    from deeprec.policy.loading import load_policy

    if stage is not None:
        run.require(stage)
    dataset, trm = load_stages(run)
    folder = run.last_policy() if stage is None else run.policy(stage)
    if remote is not None:
        return _remote_environment(run, folder, remote, dataset, trm), folder.name
    policy = load_policy(str(folder), run.config.policy)
    return build_environment(run, dataset, trm, policy), folder.name


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
        found = json.loads(file.read_text(encoding="utf-8")).get("max_position_embeddings")
    except (OSError, ValueError) as error:
        raise EngineError(f"{file}: can't be read ({error}); give --context TOKENS") from None
    if not isinstance(found, int):
        raise EngineError(f"{file}: doesn't say how long the policy's context is; give --context TOKENS")
    return found
