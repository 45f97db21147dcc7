"""What a run's training left behind, as the page shows it: trajectories and figures."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

from deeprec.data.catalog import Catalog
from deeprec.disk import read_jsonl
from deeprec.errors import DeepRecError, RunError, first_line
from deeprec.run import Run
from deeprec.serve.bodies import ItemRef, item_ref
from deeprec.serve.run_bodies import (
    MetricsGiven,
    TrainingTrajectory,
    TrainingTurn,
    TrajectoriesGiven,
    TrajectoryFilter,
)

Record = Mapping[str, Any]


class Lines:
    """The records of a JSON-lines file, read again when the file has changed."""

    def __init__(self, file: Path) -> None:
        self.file, self._lock = file, threading.Lock()
        self._state: tuple[int, int] | None = None
        self._records: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """All records; none where there is no file. Raises RunError for a broken line."""
        with self._lock:
            try:
                status = self.file.stat()
                state = (status.st_mtime_ns, status.st_size)
            except FileNotFoundError:
                return []
            if state != self._state:
                self._records, self._state = read_jsonl(self.file), state
            return self._records


class Records:
    """Trajectories and figures of one run's training."""

    def __init__(self, run: Run, catalog: Catalog) -> None:
        self._catalog = catalog
        self._trajectories, self._metrics = Lines(run.trajectories), Lines(run.metrics)

    def trajectories(
        self, wanted: TrajectoryFilter, deleted: Callable[[list[str]], frozenset[str]]
    ) -> TrajectoriesGiven:
        """Those that the filter lets through, in the order of training, without deleted users'."""
        records = self._trajectories.read()
        with _damage_told(self._trajectories.file):
            gone = deleted(sorted({str(record["user_id"]) for record in records}))
            chosen = [
                (number, record)
                for number, record in enumerate(records)
                if record["user_id"] not in gone and _passes(record, wanted)
            ]
            page = chosen[wanted.offset : wanted.offset + wanted.limit]
            return TrajectoriesGiven(
                total=len(chosen), trajectories=[self._given(number, record) for number, record in page]
            )

    def metrics(self, stage: str | None) -> MetricsGiven:
        """Every figure of a stage by step (epoch for the TRM), those that are not finite left out."""
        records = [record for record in self._metrics.read() if "stage" in record]
        stages = list(dict.fromkeys(str(record["stage"]) for record in records))
        chosen = stage if stage is not None else (stages[-1] if stages else None)
        series: dict[str, list[list[float]]] = {}
        for record in records:
            step = record.get("step", record.get("epoch"))
            if record["stage"] != chosen or not _is_number(step):
                continue
            for name, value in record.items():
                if name not in ("step", "epoch") and _is_number(value):
                    series.setdefault(name, []).append([step, value])
        return MetricsGiven(stage=chosen, stages=stages, series=series)

    def _given(self, number: int, record: Record) -> TrainingTrajectory:
        return TrainingTrajectory(
            number=number,
            stage=record["stage"],
            step=record["step"],
            user_id=record["user_id"],
            target=self._item(record["target"]) if record.get("target") else None,
            prompt=record["prompt"],
            response=record["response"],
            turns=[
                TrainingTurn(
                    thought=turn["thought"],
                    preference=turn["preference"],
                    retrieved=[self._item(item) for item in turn["retrieved"]],
                )
                for turn in record["turns"]
            ],
            ranking=[self._item(item) for item in record["ranking"]],
            stop_reason=record["stop_reason"],
            format_errors=list(record["format_errors"]),
            reward=record["reward"],
            parts=dict(record["parts"]),
        )

    def _item(self, index: int) -> ItemRef:
        return item_ref(self._catalog[index])


@contextmanager
def _damage_told(file: Path) -> Iterator[None]:
    """What a record lacks, or holds in place of what it should, is the file's fault and not the service's."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DeepRecError):
            raise
        raise RunError(
            f"{file}: a line is no trajectory ({first_line(error)}); `deeprec doctor` says more"
        ) from error


def _passes(record: Record, wanted: TrajectoryFilter) -> bool:
    exact = (
        (wanted.stop_reason, record["stop_reason"]),
        (wanted.turns, len(record["turns"])),
        (wanted.step, record["step"]),
        (wanted.stage, record["stage"]),
    )
    if any(value is not None and value != found for value, found in exact):
        return False
    low = -math.inf if wanted.min_reward is None else wanted.min_reward
    high = math.inf if wanted.max_reward is None else wanted.max_reward
    return low <= float(record["reward"]) <= high


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
