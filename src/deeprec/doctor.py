"""What stands on this machine and in a run folder: facts for a bug report, and what is wrong."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from deeprec import stages
from deeprec.audit.audit import audit
from deeprec.audit.findings import Finding
from deeprec.disk import left_behind, read_jsonl
from deeprec.distribution import NAME, install_command, installed_version
from deeprec.errors import RunError
from deeprec.run import Run
from deeprec.stages import RIVAL, STAGES
from deeprec.threads import planned_threads, usable_cores

_LOW_DISK = 2e9  # bytes; a quickstart with its checkpoints stays well below this


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional group of dependencies: what is here (name -> version) and what is not."""

    name: str
    installed: dict[str, str]
    missing: tuple[str, ...]

    @property
    def install(self) -> str:
        """The command that installs it."""
        return install_command(self.name)


@dataclass(frozen=True, slots=True)
class StageState:
    """A stage of a run: when it finished (None: not yet)."""

    name: str
    time: str | None
    minutes: float | None


@dataclass(frozen=True, slots=True)
class RunState:
    """A run folder: its stages, everything that does not fit together, and what its files prove."""

    folder: str
    data: str
    stages: tuple[StageState, ...]
    problems: tuple[str, ...]
    findings: tuple[Finding, ...]


def inspect_machine() -> dict[str, Any]:
    """Versions, devices, extras, disk and folders of this machine, as plain values."""
    from deeprec.data.sources import default_cache

    here = shutil.disk_usage(Path.cwd())
    required, extras = _requirements()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {"deeprec": installed_version()} | {name: _version(name) for name in required},
        "cores": usable_cores(),
        "threads": str(planned_threads() or "each stage measures what is faster"),
        "memory_bytes": _memory(),
        "gpus": _gpus(),
        "extras": [asdict(extra) | {"install": extra.install} for extra in extras],
        "disk": {"path": str(Path.cwd()), "free_bytes": here.free, "low": here.free < _LOW_DISK},
        "cache": str(default_cache()),
    }


def inspect_run(folder: Path) -> RunState:
    """The stages of a run and what is inconsistent. Raises RunError when there is no run."""
    run = Run.open(folder)
    finished = run.finished()
    states = []
    for name in STAGES:
        record = finished.get(name, {})
        states.append(StageState(name, record.get("time"), record.get("minutes")))
    return RunState(
        str(folder), run.config.data.name, tuple(states), tuple(_problems(run, finished)), tuple(audit(run))
    )


def _problems(run: Run, finished: dict[str, dict[str, Any]]) -> list[str]:
    found = [
        f"stage '{stage}': {text}; {run.remedy(stage)}"
        for stage in finished
        for text in run.problems(stage, thorough=True)
    ]
    for stage in [name for name in STAGES if name in finished]:
        # The evaluation may stand on any policy; every other stage needs the one before it.
        before = [name for name in STAGES[: STAGES.index(stage)] if name != stages.TRM_REFIT]
        if before and stage != stages.EVALUATION and before[-1] not in finished:
            found.append(f"stage '{stage}' finished, but '{before[-1]}' before it did not")
    found += [
        f"unknown stage '{name}' in stages.json"
        for name in finished
        if name not in STAGES and not name.startswith(RIVAL)
    ]
    found += [
        f"{part} was left by an interrupted stage; it is ignored and may be deleted"
        for part in left_behind(run.folder)
    ]
    # Data come first and log nothing: where anything was logged, at least they had finished.
    if not finished and run.metrics.exists():
        found.append(
            f"no stage is on record, though {run.metrics} tells of some; restore {run.folder / 'stages.json'} "
            "from a copy, or run the same command again, which makes all stages again"
        )
    for log in (run.metrics, run.trajectories):
        try:
            read_jsonl(log)
        except RunError as error:
            found.append(str(error))
    return found


def _requirements() -> tuple[list[str], list[Extra]]:
    """Packages that deeprec needs, and its extras with what they lack here."""
    needed: list[str] = []
    wanted: dict[str, list[str]] = {}
    for line in metadata.requires(NAME) or []:
        name = re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0]
        marker = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if marker is None:
            needed.append(name)
        elif name != NAME:  # an extra that takes in another one
            wanted.setdefault(marker.group(1), []).append(name)
    return needed, [_extra(name, packages) for name, packages in wanted.items()]


def _extra(name: str, packages: list[str]) -> Extra:
    versions = {package: _version(package) for package in packages}
    here = {package: version for package, version in versions.items() if version is not None}
    return Extra(name, here, tuple(package for package in packages if package not in here))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None  # not every system says


def _gpus() -> list[dict[str, Any]]:
    import torch

    return [
        {
            "name": torch.cuda.get_device_name(index),
            "memory_bytes": torch.cuda.get_device_properties(index).total_memory,
        }
        for index in range(torch.cuda.device_count())
    ]
