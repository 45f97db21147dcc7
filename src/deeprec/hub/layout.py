"""Which files of a run travel, and where they lie on the other side.

The policy lies at the top, so that whatever reads Hugging Face folders reads it; everything else of the run lies
below `deeprec/`. Users' histories are personal data: they travel only where that is asked for, and with them
everything that shows a user (ledgers, trajectories, rankings by user).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from deeprec.disk import read_json
from deeprec.errors import HubError
from deeprec.stages import DATA, POLICY_STAGES, TRM

FORMAT = 1
BELOW, MANIFEST, CARD = "deeprec", "deeprec/manifest.json", "README.md"
RUN, STAGES, DATASET = "run.toml", "stages.json", "data/dataset.json"
# What may travel: nothing that is code, or that is unpickled.
SUFFIXES = (".json", ".jsonl", ".toml", ".safetensors", ".parquet", ".md", ".txt", ".jinja", ".html", ".tex")
_USERS = ("data/interactions.parquet", "data/users.parquet")
_PASSING = ("cache", "tensorboard", "run.lock", "threads.json", "store.db", "evaluation.parts")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a pushed run holds: the stage of its policy, whether users' histories are in it, and every file's hash."""

    stage: str
    histories: bool
    files: Mapping[str, str]  # by name on the other side, SHA-256

    def to_json(self) -> str:
        """As it is written."""
        values = {
            "format": FORMAT,
            "stage": self.stage,
            "histories": self.histories,
            "files": dict(self.files),
        }
        return json.dumps(values, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path, place: str) -> Manifest:
        """The manifest of a pushed run; raises HubError naming `place` where there is none of ours."""
        try:
            values: dict[str, Any] = read_json(folder / MANIFEST)
            found = cls(values["stage"], values["histories"], values["files"])
            version = values["format"]
        except FileNotFoundError:
            raise HubError(f"{place}: no pushed run is here ({MANIFEST} is missing)") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HubError(f"{place}: {MANIFEST} can't be read ({error}); push the run again") from None
        if version != FORMAT:
            raise HubError(f"{place}: {MANIFEST}: format = {version}, this version reads {FORMAT}")
        if found.stage not in POLICY_STAGES or not isinstance(found.files, dict):
            raise HubError(f"{place}: {MANIFEST}: stage = {found.stage!r} is none; push the run again")
        return found


def travels(name: str, stage: str, histories: bool) -> bool:
    """Whether a file of a run, by its path there, is pushed.

    >>> [travels(name, "recommendation", False) for name in ("trm/model.safetensors", "seen/trm.parquet")]
    [True, False]
    """
    parts = PurePosixPath(name).parts
    if set(parts) & set(_PASSING) or any(part.endswith((".checkpoints", ".part")) for part in parts):
        return False
    if PurePosixPath(name).suffix not in SUFFIXES:
        return False
    if histories:
        return True
    if name in _USERS:
        return False
    return name in (RUN, STAGES) or parts[0] in (DATA, TRM) or parts[:2] == ("policy", stage)


def place_of(name: str, stage: str) -> str:
    """Where a file of a run lies on the other side.

    >>> place_of("policy/recommendation/config.json", "recommendation"), place_of("trm/trm.json", "recommendation")
    ('config.json', 'deeprec/trm/trm.json')
    """
    return name.removeprefix(f"policy/{stage}/") if name.startswith(f"policy/{stage}/") else f"{BELOW}/{name}"


def name_of(place: str, stage: str) -> str:
    """The file of a run that lies at `place` on the other side; the way back of `place_of`."""
    below = f"{BELOW}/"
    return place.removeprefix(below) if place.startswith(below) else f"policy/{stage}/{place}"


def check_place(place: object) -> str:
    """The name of a file in a pushed run; raises HubError for one that leads elsewhere, or holds what is not read."""
    path = PurePosixPath(place) if isinstance(place, str) else None
    if (
        path is None
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in str(place)
        or str(path) != place
        or path.suffix not in SUFFIXES
    ):
        raise HubError(
            f"{MANIFEST} names {place!r}, which is no file that a pushed run may hold; don't trust it"
        )
    return str(place)
