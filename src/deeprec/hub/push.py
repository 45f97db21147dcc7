"""A run into the layout of the hub: what travels is chosen, described and hashed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from deeprec import artefacts
from deeprec.config import RunConfig
from deeprec.data.dataset import Dataset
from deeprec.data.format import read_dataset
from deeprec.disk import file_hash, read_json, whole_folder, write_atomically
from deeprec.errors import HubError
from deeprec.hub.card import write_card
from deeprec.hub.layout import CARD, DATASET, MANIFEST, RUN, STAGES, Manifest, place_of, travels
from deeprec.run import Run
from deeprec.settings.effect import PLACE
from deeprec.settings.section import Section
from deeprec.stages import DATA, POLICY_STAGES, TRM
from deeprec.toml import to_toml
from deeprec.trm.kinds import NETWORKS


def push_to_folder(
    run: Run, target: Path, *, stage: str | None = None, histories: bool = False, licence: str = "other"
) -> Manifest:
    """Write a run so that `target` is a whole pushed run, or what it was before.

    Raises HubError for a target that holds something else, and for a TRM that is made of users' histories each time
    it is loaded, where those are left out; RunError for a run without a policy.
    """
    for needed in (DATA, TRM):
        run.require(needed)
    chosen = run.last_policy().name if stage is None else stage
    run.require(chosen)
    if run.config.trm.kind not in NETWORKS and not histories:
        raise HubError(
            f"{run.folder}: trm.kind = '{run.config.trm.kind}' is made of users' histories whenever it is loaded; push "
            "them, too (--histories), or take one of our networks"
        )
    if (
        target.exists()
        and not (target / MANIFEST).is_file()
        and (not target.is_dir() or any(target.iterdir()))
    ):
        raise HubError(f"{target}: is not empty and no pushed run; name another folder")
    dataset = read_dataset(run.data)
    with whole_folder(target) as part:
        for file in sorted(run.folder.rglob("*")):
            name = file.relative_to(run.folder).as_posix()
            if file.is_file() and travels(name, chosen, histories):
                _copy(file, part / place_of(name, chosen))
        write_atomically(part / place_of(RUN, chosen), _settings(run.config))
        if not histories:
            _leave_users_out(part / place_of(DATASET, chosen), dataset)
        records = _records(run, part, chosen, histories)
        write_atomically(part / place_of(STAGES, chosen), json.dumps(records, indent=1))
        write_atomically(part / CARD, write_card(run, dataset, chosen, histories=histories, licence=licence))
        files = {
            file.relative_to(part).as_posix(): file_hash(file)
            for file in sorted(part.rglob("*"))
            if file.is_file()
        }
        manifest = Manifest(chosen, histories, files)
        write_atomically(part / MANIFEST, manifest.to_json())
    return manifest


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _settings(config: RunConfig) -> str:
    """The settings without places on this machine."""
    values: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    for name in RunConfig.model_fields:
        section = getattr(config, name)
        if isinstance(section, Section):
            for key, field in type(section).model_fields.items():
                if any(mark is PLACE for mark in field.metadata):
                    values[name].pop(key, None)
    return to_toml(values)


def _leave_users_out(file: Path, dataset: Dataset) -> None:
    """Say in the set's description that nobody is in it, and which catalogue belongs to it."""
    values = read_json(file)
    write_atomically(file, json.dumps({**values, "withheld": dataset.catalog.fingerprint}, indent=1) + "\n")


def _records(run: Run, part: Path, stage: str, histories: bool) -> dict[str, Any]:
    """Records of the stages that travel, about the files that do.

    Policies before the pushed one stay in the records, for it was made from them, without files.
    """
    kept = (DATA, TRM, *POLICY_STAGES[: POLICY_STAGES.index(stage) + 1])
    found = {}
    for name, record in run.finished().items():
        if not histories and name not in kept:
            continue
        places = {file: part / place_of(file, stage) for file in record.get("files", {})}
        files = {
            file: [place.stat().st_size, file_hash(place)]
            for file, place in places.items()
            if place.is_file()
        }
        logged = record.get("logged", {}) if histories else {}
        found[name] = artefacts.seal({**record, "files": files, "logged": logged})
    return found
