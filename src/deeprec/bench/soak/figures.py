"""What a soak says: figures of a minute, of a kind of request, and whether the goals are met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeprec.bench.soak.clients import Outcome
from deeprec.bench.soak.kinds import DEEPREC, DEEPREC_USER, KINDS, STREAM, TRM
from deeprec.bench.soak.troubles import Window

GROWTH = 0.02  # of memory and descriptors, from the second quarter of the time to the last
DEEPREC_MS, TRM_MS = 1000.0, 50.0  # at p99
_SPARE = 2  # descriptors more or fewer that are no growth
_POLICY = (DEEPREC, DEEPREC_USER, STREAM)


@dataclass(frozen=True)
class Sample:
    """What the service's process held at a moment."""

    at: float
    memory: int  # bytes resident
    descriptors: int


@dataclass(frozen=True)
class Minute:
    """The figures of one minute; milliseconds are None where nothing of the kind was answered."""

    number: int
    requests: int
    memory_mib: float | None
    descriptors: int | None
    deeprec_p50: float | None
    deeprec_p99: float | None
    trm_p50: float | None
    trm_p99: float | None
    wrong: int  # answers that should have been others
    troubles: tuple[str, ...]


@dataclass(frozen=True)
class OfKind:
    """The figures of one kind of request over the whole time."""

    kind: str
    requests: int
    p50: float | None
    p99: float | None
    answers: str  # how many of each status
    wrong: int


@dataclass(frozen=True)
class Check:
    """One goal: what was found, what is wanted, and whether it is met."""

    name: str
    found: str
    goal: str
    is_met: bool
    of_time: bool = False  # a busy machine misses it through no fault of the service


@dataclass(frozen=True)
class Feedback:
    """What became of it."""

    acknowledged: int
    kept: int  # of those
    twice: int


def sample(pid: int, at: float) -> Sample | None:
    """Memory and descriptors of a process; None where the system doesn't tell."""
    place = Path(f"/proc/{pid}")
    try:
        lines = (place / "status").read_text(encoding="utf-8").splitlines()
        memory = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
        return Sample(at, memory, len(list((place / "fd").iterdir())))
    except (OSError, StopIteration):
        return None


def minute(
    number: int, outcomes: Sequence[Outcome], samples: Sequence[Sample], windows: Sequence[Window]
) -> Minute:
    """The figures of a minute; latencies are of what no trouble can have met."""
    last = samples[-1] if samples else None
    deeprec, trm = (_ms(outcomes, names, windows) for names in (_POLICY, (TRM,)))
    return Minute(
        number=number,
        requests=len(outcomes),
        memory_mib=None if last is None else round(last.memory / 2**20, 1),
        descriptors=None if last is None else last.descriptors,
        deeprec_p50=_percentile(deeprec, 50),
        deeprec_p99=_percentile(deeprec, 99),
        trm_p50=_percentile(trm, 50),
        trm_p99=_percentile(trm, 99),
        wrong=sum(not is_right(outcome, windows) for outcome in outcomes),
        troubles=tuple(window.name for window in windows),
    )


def by_kind(outcomes: Sequence[Outcome], windows: Sequence[Window]) -> list[OfKind]:
    """The figures of each kind."""
    rows = []
    for kind in KINDS:
        own = [outcome for outcome in outcomes if outcome.kind == kind]
        ms = _ms(own, (kind.name,), windows)
        counts = ", ".join(
            f"{count} x {told}" for told, count in sorted(Counter(o.told for o in own).items())
        )
        wrong = sum(not is_right(outcome, windows) for outcome in own)
        rows.append(OfKind(kind.name, len(own), _percentile(ms, 50), _percentile(ms, 99), counts, wrong))
    return rows


def is_right(outcome: Outcome, windows: Iterable[Window]) -> bool:
    """Whether it is what should come; what needs the store may be 503 while there is none."""
    if outcome.is_right:
        return True
    excused = outcome.kind.needs_store and outcome.told == "503"
    return excused and any(window.meets(outcome.began, outcome.ended) for window in windows)


def checks(
    outcomes: Sequence[Outcome],
    samples: Sequence[Sample],
    windows: Sequence[Window],
    feedback: Feedback,
    tracebacks: int,
) -> list[Check]:
    """Every goal."""
    wrong = sum(not is_right(outcome, windows) for outcome in outcomes)
    lost = feedback.acknowledged - feedback.kept
    return [
        Check("unexpected answers", f"{wrong} of {len(outcomes)}", "0", wrong == 0),
        Check("acknowledged feedback that is lost", f"{lost} of {feedback.acknowledged}", "0", lost == 0),
        Check("feedback stored twice", str(feedback.twice), "0", feedback.twice == 0),
        Check("tracebacks in the log", str(tracebacks), "0", tracebacks == 0),
        *_growths(samples),
        _time("answers of the policy, p99", _ms(outcomes, _POLICY, windows), DEEPREC_MS),
        _time("answers of the TRM, p99", _ms(outcomes, (TRM,), windows), TRM_MS),
    ]


def is_passed(found: Iterable[Check], *, times_count: bool) -> bool:
    """Whether every goal is met, but for those of time where these don't count."""
    return all(check.is_met or (check.of_time and not times_count) for check in found)


def _growths(samples: Sequence[Sample]) -> list[Check]:
    if len(samples) < 4:
        return [Check("memory and descriptors", "this system doesn't tell", "no growth", True)]
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    goal = f"{100 * GROWTH:.0f} % at most"
    memory = float(np.median([s.memory for s in late]) / np.median([s.memory for s in early]) - 1)
    # The least: connections come and go, what is never closed stays.
    before, after = (min(s.descriptors for s in part) for part in (early, late))
    return [
        Check("memory, last quarter beside second", f"{100 * memory:+.1f} %", goal, memory <= GROWTH),
        Check("descriptors, last quarter beside second", f"{before} to {after}", goal,
              after <= before * (1 + GROWTH) + _SPARE),
    ]  # fmt: skip


def _time(name: str, ms: Sequence[float], goal: float) -> Check:
    found = _percentile(ms, 99)
    told = "none came" if found is None else f"{found:.0f} ms"
    return Check(name, told, f"below {goal:.0f} ms", found is not None and found < goal, of_time=True)


def _ms(outcomes: Iterable[Outcome], kinds: Sequence[str], windows: Sequence[Window]) -> list[float]:
    """Milliseconds of what was answered, but for what needed a store that was away."""
    return [
        1000 * outcome.seconds
        for outcome in outcomes
        if outcome.kind.name in kinds
        and not (outcome.kind.needs_store and any(w.meets(outcome.began, outcome.ended) for w in windows))
    ]


def _percentile(ms: Sequence[float], of: float) -> float | None:
    return round(float(np.percentile(ms, of)), 1) if ms else None
