"""What a stage was made from; the one place where fingerprints are put together.

Besides the settings that declare the stage (`settings/effect.py`) it holds what is made before, and
what the code itself puts in. `stages.json` keeps all of it, so that a stage that is made again says why.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from types import ModuleType
from typing import Any

from deeprec.config import RunConfig
from deeprec.errors import RunError
from deeprec.run import Run, fingerprint
from deeprec.stages import EVALUATION

_log = logging.getLogger(__name__)

_MADE_FROM = "made_from"  # in the record of a finished stage
_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")
_SHOWN = 5  # differences that a message names


@dataclass(frozen=True, slots=True)
class Inputs:
    """What `stage` depends on: settings by dotted name, and the hash of everything else by name."""

    stage: str
    settings: Mapping[str, Any]
    others: Mapping[str, str]

    @classmethod
    def of(cls, config: RunConfig, stage: str, **others: Any) -> Inputs:
        """The settings that declare `stage`, and `others`: plain values, named as a message names them."""
        return cls(
            stage, config.identity(stage), {name: fingerprint(other) for name, other in others.items()}
        )

    @property
    def fingerprint(self) -> str:
        """Short hash of all of it."""
        return fingerprint(self.stage, self.settings, self.others)

    def begin(self, run: Run) -> None:
        """Forget the stage and what is made from it; say on the log why it is made again.

        Raises RunError as `refuse_earlier` does.
        """
        self.refuse_earlier(run)
        before = run.finished().get(self.stage, {}).get(_MADE_FROM)
        differences = list(_differences(before, self._record())) if before else []
        if differences:
            shown = [*differences[:_SHOWN], *(["..."] if len(differences) > _SHOWN else [])]
            _log.warning("stage '%s' is made again: %s", self.stage, "; ".join(shown))
        run.begin(self.stage)

    def refuse_earlier(self, run: Run) -> None:
        """Raise RunError where an earlier version finished the stage: its hours must not be lost unasked."""
        record = run.finished().get(self.stage)
        if self.stage == EVALUATION:  # made again in minutes
            return
        if record is not None and _MADE_FROM not in record:
            raise RunError(
                f"{run.folder}: stage '{self.stage}' was finished by an earlier version of deeprec, whose record can't "
                "be compared with these settings. `deeprec evaluate`, `recommend` and `serve` use the run as it is; to "
                f"train with this version choose another folder with --run, or delete {run.folder / 'stages.json'} "
                "to make every stage here again"
            )

    def finish(self, run: Run, minutes: float, **facts: Any) -> None:
        """Record the stage as finished, with `facts` and what it was made from."""
        run.finish(self.stage, self.fingerprint, minutes, **facts, **{_MADE_FROM: self._record()})

    def _record(self) -> dict[str, Any]:
        return {"settings": dict(self.settings), "others": dict(self.others)}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    old, new = before["settings"], now["settings"]
    for name in sorted(old.keys() | new.keys()):
        if name in old and name in new and old[name] != new[name]:
            yield f"{name} was {old[name]}, is {new[name]}"
        elif (name in old) != (name in new):
            yield f"{name} {'counts now' if name in new else 'no longer counts'}"
    old, new = before["others"], now["others"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name.replace('_', ' ')} changed"


def constants_of(*modules: ModuleType) -> dict[str, Any]:
    """The numbers and texts in capitals of some modules: results depend on them, too.

    Keys are `MODULE.NAME` with the module's own name alone, so that a module may move.
    """
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            if _CONSTANT.fullmatch(name) and (plain := _plain(value)) is not None:
                found[f"{module.__name__.rpartition('.')[2]}.{name}"] = plain
    return found


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; None for what is no constant (a class, a function, a path)."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, re.Pattern):
        return value.pattern
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [
            _plain(entry) for entry in (value if isinstance(value, list | tuple) else sorted(value, key=repr))
        ]
    return None
