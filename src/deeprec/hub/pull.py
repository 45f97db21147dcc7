"""A pushed run back into a run folder. What comes from strangers is checked before any of it is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

from deeprec.config import RunConfig
from deeprec.data.format import read_dataset
from deeprec.disk import file_hash, whole_folder
from deeprec.errors import HubError
from deeprec.hub.layout import CARD, Manifest, check_place, name_of
from deeprec.references import is_reference
from deeprec.run import Run


def pull_from_folder(source: Path, target: Path, place: str) -> Run:
    """Make the run `target` of a pushed one; `place` is how errors call the source.

    Raises HubError where `target` is there, where files are not what the manifest says, lead elsewhere or are no data,
    and where the settings name modules, which would be run.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HubError(f"{target}: is not empty; name a folder for the pulled run")
    manifest = Manifest.read(source, place)
    with whole_folder(target) as part:
        for name, digest in manifest.files.items():
            if check_place(name) != CARD:
                _take(source / name, part / name_of(name, manifest.stage), digest, place)
        shutil.copyfile(source / CARD, part / CARD)
        run = Run.open(part)
        _check_settings(run.config, place)
        damage = [text for stage in run.finished() for text in run.problems(stage, thorough=True)]
        if damage:
            raise HubError(f"{place}: {damage[0].replace(str(part), place)}; push the run again")
        read_dataset(run.data)
    return Run.open(target)


def _take(source: Path, target: Path, digest: object, place: str) -> None:
    if source.is_symlink() or not source.is_file():
        raise HubError(f"{place}: {source.name} is no file here; fetch or push it again")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    if file_hash(target) != digest:
        raise HubError(f"{place}: {source.name} is not what was pushed (SHA-256); fetch or push it again")


def _check_settings(config: RunConfig, place: str) -> None:
    """Raise HubError for settings that name a module: whoever loads the run would run it."""
    named = {
        "data.name": [config.data.name],
        "trm.kind": [config.trm.kind],
        "rollout.template": [config.rollout.template],
        "engine.kind": [config.engine.kind],
        "rl.cold_start.weights": list(config.rl.cold_start.weights),
        "rl.recommendation.weights": list(config.rl.recommendation.weights),
        "evaluation.methods": list(config.evaluation.methods),
    }
    for setting, values in named.items():
        for value in values:
            if is_reference(value):
                raise HubError(
                    f"{place}: {setting} = '{value}' names a module, which would be run here; get the run folder "
                    "itself from somebody whom you trust, and the module with it"
                )
