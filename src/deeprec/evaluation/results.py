"""Results as data: rows of figures in results/*.json, from which docs/results.md is made."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deeprec.config import RunConfig, load_config, preset_names
from deeprec.disk import read_json, write_atomically
from deeprec.errors import EvaluationError
from deeprec.evaluation.summary import EvaluationSummary, MethodSummary
from deeprec.methods import describe
from deeprec.run import Run
from deeprec.settings.section import WHOLE
from deeprec.toml import toml_value

_SEED = re.compile(r"--set seed=\d+")


class ResultRow(BaseModel):
    """One method, trained with one seed, on the targets whose hash is `targets`.

    `interval` is the 95% bootstrap interval over users of each metric; `differences` maps a
    baseline to the paired difference of each metric, as (mean, low, high), `tests` to the p-value of
    each tested metric and its Holm-adjusted one. `metrics` also holds `coverage` and `seconds` per
    user. Rows of earlier versions lack what was not measured then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    dataset: str
    protocol: str
    part: str = "test"
    history: int | None = Field(
        None, description="Latest items that the method reads; none: it reads no history."
    )
    method: str
    seed: int
    targets: str = Field(min_length=8)
    users: int = Field(gt=0)
    metrics: dict[str, float] = Field(min_length=1)
    interval: dict[str, tuple[float, float]] = {}
    differences: dict[str, dict[str, tuple[float, float, float]]] = {}
    tests: dict[str, dict[str, tuple[float, float]]] = {}
    command: str = Field(min_length=1)
    minutes: float = Field(
        ge=0, description="Time to train everything that the method needs, and to evaluate it."
    )
    machine: str
    commit: str | None = None
    versions: dict[str, str] = {}
    note: str | None = Field(None, description="What a reader must know of this row.")

    @model_validator(mode="after")
    def _check(self) -> ResultRow:
        for name, value in self.metrics.items():
            if (
                re.fullmatch(r"recall@\d+|ndcg@\d+|mrr|validity|pool_recall|coverage", name)
                and not 0 <= value <= 1
            ):
                raise ValueError(f"{name} = {value} is not between 0 and 1")
        measured = [set(self.interval), *(set(found) for found in self.differences.values())]
        measured += [set(found) for found in self.tests.values()]
        unknown = set().union(*measured) - set(self.metrics)
        if unknown:
            raise ValueError(f"an interval without its metric: {', '.join(sorted(unknown))}")
        return self

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it the same row: adding it again replaces it."""
        return (
            self.dataset,
            self.protocol,
            self.part,
            self.targets,
            self.method,
            self.seed,
            self.history,
            self.command,
        )

    @property
    def recipe(self) -> str:
        """The command without its seed: rows of one recipe differ by seed alone."""
        return _SEED.sub("--set seed=SEED", self.command)


def load_rows(path: Path) -> list[ResultRow]:
    """Rows of a results file, or of every *.json in a folder, in the order of file names.

    Raises EvaluationError naming file, row and what is wrong.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    return [row for file in files for row in _load_file(file)]


def _load_file(file: Path) -> list[ResultRow]:
    try:
        values = read_json(file)
    except OSError as error:
        raise EvaluationError(f"{file}: can't be read ({error.strerror}); check the path") from None
    except ValueError as error:
        raise EvaluationError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(values, list):
        raise EvaluationError(f"{file}: expected a list of rows, found {type(values).__name__}")
    rows = []
    for number, value in enumerate(values, 1):
        try:
            # Strict JSON mode would refuse 1 for 1.0; this accepts numbers and nothing else for them.
            rows.append(ResultRow.model_validate_json(json.dumps(value)))
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"]) or "row"
            raise EvaluationError(f"{file} row {number}: '{place}': {problem['msg']}") from None
    return rows


def append_rows(file: Path, rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Add rows to a results file (made when absent); a row added before is replaced.

    Returns all rows of the file. The file is written as a whole or not at all.
    """
    if file.suffix != ".json":
        raise EvaluationError(
            f"{file}: results are kept in .json files; name one such as results/ml-100k.json"
        )
    fresh = {row.key for row in rows}
    kept = [row for row in _load_file(file) if row.key not in fresh] if file.exists() else []
    together = sorted([*kept, *rows], key=lambda row: tuple(str(part) for part in row.key))
    lines = ",\n".join(json.dumps(row.model_dump(mode="json"), sort_keys=True) for row in together)
    write_atomically(file, f"[\n{lines}\n]\n")
    return together


def rows_of_run(run: Run, summary: EvaluationSummary, command: str | None = None) -> list[ResultRow]:
    """One row per evaluated method of a run; `command` defaults to the one that repeats the run."""
    return [
        _row(run, summary, method, command or rerun_command(run.config))
        for method in summary.methods.values()
    ]


def _row(run: Run, summary: EvaluationSummary, method: MethodSummary, command: str) -> ResultRow:
    finished = run.finished()
    entry = describe(method.name)
    minutes = sum(float(finished.get(stage, {}).get("minutes", 0.0)) for stage in entry.needs)
    return ResultRow(
        dataset=summary.dataset,
        protocol=summary.protocol,
        part=summary.part,
        history=entry.history(run.config),
        method=method.name,
        seed=run.config.seed,
        targets=summary.targets,
        users=summary.users,
        metrics={name: _short(value) for name, value in method.figures.items()},
        interval={name: (_short(value.low), _short(value.high)) for name, value in method.metrics.items()},
        differences={
            baseline: {name: (_short(d.mean), _short(d.low), _short(d.high)) for name, d in found.items()}
            for baseline, found in method.differences.items()
        },
        tests={
            baseline: {
                name: (_short(d.p_value), _short(d.holm_p))
                for name, d in found.items()
                if d.p_value is not None and d.holm_p is not None
            }
            for baseline, found in method.differences.items()
        },
        command=command,
        minutes=round(minutes + method.seconds_per_user * summary.users / 60, 2),
        machine=str(summary.environment.get("machine", "unknown")),
        commit=summary.environment.get("commit"),
        versions=summary.environment.get("versions", {}),
    )


def _short(value: float) -> float:
    return round(value, 6)


def rerun_command(config: RunConfig) -> str:
    """The shortest command that repeats a run: the nearest preset, and every setting that differs.

    Paths of sources are left out but for their last part: they say nothing elsewhere.
    """
    bases = {name: load_config(name) for name in preset_names()}
    changes = {name: _changes(config, base) for name, base in bases.items()}
    # A setting that a preset gives and this run leaves open can't be taken back by --set.
    changes = {name: found for name, found in changes.items() if None not in found.values()}
    changes = changes or {"": _changes(config, RunConfig())}
    best = min(changes, key=lambda name: (len(changes[name]), name != config.data.name, name))
    words = ["deeprec quickstart", *([f"--preset {best}"] if best else [])]
    found = changes[best]
    if "data.name" in found:
        words.append(f"--data {found.pop('data.name')}")
    if "data.source" in found:
        words.append(f"--source {Path(str(found.pop('data.source'))).name}")
    found.pop("seed", None)
    words += [f"--set {key}={_value(key, value)}" for key, value in found.items()]
    return " ".join([*words, f"--set seed={config.seed}"])


def fit_commands(config: RunConfig) -> str:
    """The commands that prepare the data of a run and fit its TRM, one a line."""
    changes = _changes(config, RunConfig())
    prepare = ["deeprec data prepare", config.data.name]
    if config.data.source is not None:
        prepare.append(f"--source {Path(config.data.source).name}")
    for key in ("data.name", "data.source"):
        changes.pop(key, None)
    words = {key: f"--set {key}={_value(key, value)}" for key, value in changes.items()}
    prepare += [word for key, word in words.items() if key.startswith("data.")]
    fit = [word for key, word in words.items() if key.startswith("trm.")]
    return "\n".join((" ".join(prepare), " ".join(["deeprec trm fit", *fit, f"--set seed={config.seed}"])))


def _value(key: str, value: Any) -> str:
    if key in {"data.items", "data.users"} or (key == "trm.text_encoder" and Path(str(value)).exists()):
        value = Path(str(value)).name  # a place on one machine means nothing on another
    text = value if isinstance(value, str) else "null" if value is None else toml_value(value)
    return shlex.quote(text)


def _changes(config: RunConfig, base: RunConfig) -> dict[str, Any]:
    ours, theirs = _leaves(config.model_dump(mode="json")), _leaves(base.model_dump(mode="json"))
    return {key: ours.get(key) for key in ours | theirs if theirs.get(key) != ours.get(key)}


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and key not in WHOLE:
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
