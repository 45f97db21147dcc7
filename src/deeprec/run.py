"""The run folder: what each stage reads and leaves behind.

A stage is finished when `stages.json` says so with the fingerprint of its inputs; it is
not run again unless those changed. Files are written beside their place and renamed, so
that a stage interrupted half-way leaves nothing that looks finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from deeprec import artefacts, stages
from deeprec.config import RunConfig, parse_saved
from deeprec.device import check_one_process
from deeprec.disk import alone, read_json, write_atomically
from deeprec.errors import DeepRecError, RunError
from deeprec.layout import Layout
from deeprec.locks import check_place, writing
from deeprec.provenance import environment
from deeprec.settings.former import upgrade
from deeprec.space import needs_of_its_own, refuses, remedy_of
from deeprec.stages import POLICY_STAGES, RIVAL, STAGES, command_of
from deeprec.toml import to_toml

_ASIDE = {stages.TRM_REFIT: (stages.TRM_REFIT, stages.EVALUATION)}  # no policy is made from it
_UNDER_RIVALS = (stages.DATA, stages.TRM)

P = ParamSpec("P")
R = TypeVar("R")


class Run(Layout):
    """A folder with one resolved configuration and the results of its stages."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        super().__init__(folder)
        self.config = config
        self._before: str | None = None  # the settings that were there when it got these
        self._accepted = True

    @classmethod
    def create(cls, folder: Path, config: RunConfig) -> Run:
        """Open `folder` for this configuration, or make it.

        An existing run may be given other settings; stages whose inputs changed will run
        again. A stage that refuses them before it begins leaves the run with those from before.
        Raises RunError if the folder holds something else, or another data set.
        """
        check_place(folder)
        if (folder / "run.toml").exists():
            before = cls.open(folder).config.data
            if before.name != config.data.name and (folder / "data").exists():
                raise RunError(
                    f"{folder}: is a run on data set '{before.name}', not '{config.data.name}'; "
                    "choose another folder with --run"
                )
        run = cls(folder, config)
        file = folder / "run.toml"
        run._before = file.read_text(encoding="utf-8") if file.is_file() else None
        run._accepted = False
        run._save_settings()
        return run

    def accept(self) -> None:
        """From now on the run keeps its settings, whatever happens."""
        self._save_settings()
        self._accepted = True

    def give_up(self) -> None:
        """Put back the settings from before, unless these were accepted: nothing was made with them."""
        file = self.folder / "run.toml"
        if self._accepted or not file.is_file():
            return
        with writing(self.folder):
            if self._before is None:
                file.unlink()
            else:
                write_atomically(file, self._before)

    def _save_settings(self) -> None:
        """Write `run.toml` if it says something else, which only a process that may write here can."""
        file = self.folder / "run.toml"
        text = to_toml(self.config.model_dump(mode="json", exclude_none=True))
        if file.is_file() and file.read_bytes() == text.encode():
            return
        try:
            with writing(self.folder):
                write_atomically(file, text)
        except OSError as error:
            raise RunError(
                f"{self.folder}: can't be written ({error.strerror}); {remedy_of(error)}"
            ) from None

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open an existing run; raises RunError when there is none."""
        import tomllib

        file = folder / "run.toml"
        if not file.is_file():
            raise RunError(f"{folder}: no run.toml here; make a run with `deeprec quickstart --run {folder}`")
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{file}: not valid TOML: {error}") from None
        if not values:
            raise RunError(f"{file}: is empty; restore it, or make the run again in another folder")
        return cls(folder, parse_saved(upgrade(values, str(file)), str(file)))

    def last_policy(self) -> Path:
        """The newest finished policy; raises RunError if there is none yet."""
        for stage in reversed(POLICY_STAGES):
            if stage in self.finished() and self.policy(stage).is_dir():
                self.check(stage)
                return self.policy(stage)
        raise RunError(f"{self.folder}: no trained policy yet; run `deeprec policy init --run {self.folder}`")

    def finished(self) -> dict[str, dict[str, Any]]:
        """Finished stages: name -> {inputs, minutes, time, ...}."""
        file = self.folder / "stages.json"
        if not file.exists():
            return {}
        again = "restore it from a copy, or delete it to run the stages again"
        try:
            record: dict[str, dict[str, Any]] = read_json(file)
        except (OSError, ValueError) as error:
            raise RunError(f"{file}: can't be read ({error}); {again}") from None
        if not isinstance(record, dict) or not all(map(artefacts.is_record, record.values())):
            raise RunError(f"{file}: not a record of stages; {again}")
        return record

    def is_current(self, stage: str, inputs: str) -> bool:
        """Whether the stage finished with exactly these inputs, and is still there.

        Where its folder was deleted it is made again. Raises RunError where it is there and not what it was.
        """
        if self.finished().get(stage, {}).get("inputs") != inputs:
            return False
        files = self.finished()[stage].get("files", {})
        for place in self.left_by(stage):
            held = f"{place.relative_to(self.folder).as_posix()}/"
            if not place.is_dir() and any(name.startswith(held) for name in files):
                return False
        self.check(stage)
        return True

    def left_by(self, stage: str) -> list[Path]:
        """Where a stage leaves what others load."""
        if stage.startswith(RIVAL):
            return [self.rival(stage.removeprefix(RIVAL))]
        if stage == stages.WARM_START and self.config.warm_start.reads:
            return [self.policy(stage), self.policy(stages.READING)]
        single = {
            stages.DATA: self.data,
            stages.TRM: self.trm,
            stages.TRM_REFIT: self.trm_refit,
            stages.EVALUATION: self.report,
        }
        return [single.get(stage) or self.policy(stage)]

    def check(self, stage: str, *, thorough: bool = False) -> None:
        """Raise RunError where something that a finished stage left is gone or changed.

        Sizes always, hashes where they cost little or the check shall be `thorough`. Runs of earlier versions
        have neither.
        """
        found = self.problems(stage, thorough=thorough)
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise RunError(f"stage '{stage}': {found[0]}{more}; {self.remedy(stage)}")

    def problems(self, stage: str, *, thorough: bool = False) -> list[str]:
        """What is wrong with a finished stage, in words: its record, and files that are gone, changed or foreign."""
        record = self.finished().get(stage, {})
        if "seal" in record and not artefacts.is_sealed(record):
            return [f"{self.folder / 'stages.json'} holds another record of it than was written"]
        most = None if thorough else artefacts.HASHED_ON_LOAD
        found = artefacts.problems(self.folder, record.get("files", {}), most=most)
        # A report is written into by whoever exports it; from the others something would be loaded.
        if "files" in record and stage != stages.EVALUATION:
            found += artefacts.strangers(self.folder, self.left_by(stage), record["files"])
        return found

    def remedy(self, stage: str) -> str:
        """What to do where a file of a stage is gone or changed."""
        places = " and ".join(str(place) for place in self.left_by(stage))
        return (
            f"restore it from a copy, or delete {places}, then `{command_of(stage)} --run {self.folder}` makes it "
            "again (what follows from it, too)"
        )

    def begin(self, stage: str) -> None:
        """Forget that this stage and all that is made from it were finished.

        Raises ConfigError in one of several processes that were started for one command.
        """
        check_one_process()
        self.accept()
        if stage.startswith(RIVAL):
            later: tuple[str, ...] = (stage,)  # an evaluation knows which fits it compared
        else:
            later = _ASIDE.get(stage, STAGES[STAGES.index(stage) :])
        self._change(
            lambda record: {
                name: entry
                for name, entry in record.items()
                if name not in later and not (name.startswith(RIVAL) and stage in _UNDER_RIVALS)
            }
        )

    def finish(self, stage: str, inputs: str, minutes: float, **facts: Any) -> None:
        """Record a stage as finished, with what produced it."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"inputs": inputs, "minutes": round(minutes, 3), "time": now, **facts, **environment()}
        self.record(stage, entry)

    def record(self, stage: str, entry: dict[str, Any]) -> None:
        """Put down `entry` for a stage, with hashes of its files and of the rows that it logged.

        Records of other stages stay, also what another process has just put there.
        """
        ledger = self.folder / "seen" / f"{stage.replace(RIVAL, 'rival-')}.parquet"
        files = artefacts.describe(self.folder, [*self.left_by(stage), ledger])
        rows = artefacts.count_rows((self.metrics, self.trajectories), stage)
        sealed = artefacts.seal({**entry, "files": files, "logged": rows})
        self.accept()
        self._change(lambda record: {**record, stage: sealed})

    def keep(self, stage: str, file: Path) -> None:
        """Put a file that was made from a finished stage's files among them."""
        entry = self.finished().get(stage)
        if entry is not None:
            files = entry.get("files", {}) | artefacts.describe(self.folder, [file])
            self._change(lambda record: {**record, stage: artefacts.seal({**entry, "files": files})})

    def _change(self, change: Callable[[dict[str, dict[str, Any]]], dict[str, dict[str, Any]]]) -> None:
        file = self.folder / "stages.json"
        with alone(file):
            write_atomically(file, json.dumps(change(self.finished()), indent=1))

    def require(self, stage: str, command: str | None = None) -> dict[str, Any]:
        """The record of a finished stage, whose files are what they were.

        Raises RunError naming the command that makes it (none: `command_of`), or the file that is not.
        """
        record = self.finished().get(stage)
        if record is None:
            command = command or command_of(stage)
            raise RunError(
                f"{self.folder}: stage '{stage}' has not been run; run `{command} --run {self.folder}`"
            )
        self.check(stage)
        return record


def writes(stage: Callable[Concatenate[Run, P], R]) -> Callable[Concatenate[Run, P], R]:
    """For a function that writes into the run that it is given first: it holds the lock while it is at work.

    Settings that it refuses are given up. A disk that refuses is a RunError that names the file, and what to do.
    """

    @wraps(stage)
    def held(run: Run, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with writing(run.folder), needs_of_its_own():
            try:
                return stage(run, *args, **kwargs)
            except DeepRecError:
                run.give_up()
                raise
            except OSError as error:
                if not refuses(error):
                    raise
                raise RunError(
                    f"{error.filename or run.folder}: can't be written ({error.strerror}); {remedy_of(error)}, "
                    "then the same command goes on: finished stages and checkpoints are kept"
                ) from error

    return held


def fingerprint(*parts: Any) -> str:
    """Short hash of plain values (JSON-able), for stage inputs."""
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
