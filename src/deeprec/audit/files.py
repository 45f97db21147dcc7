"""Whether a run is whole: every file, every row of the logs and every record is what a stage wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeprec import artefacts
from deeprec.audit.findings import Finding, Verdict
from deeprec.errors import RunError
from deeprec.run import Run

_FILES = "files are those that the stages wrote"


def check_files(run: Run) -> list[Finding]:
    """Sizes and SHA-256 of all that finished stages left; rows that they logged; their records themselves."""
    finished = run.finished()
    if not finished:
        return []
    before = [stage for stage, record in finished.items() if not {"files", "seal"} & record.keys()]
    if before:
        text = f"{', '.join(before)}: made by an earlier version, which kept no hashes; run the stage again"
        return [Finding(_FILES, Verdict.UNPROVEN, text)]
    damage = [text for stage in finished for text in run.problems(stage, thorough=True)]
    sizes = [size for record in finished.values() for size, _ in record.get("files", {}).values()]
    return [
        _finding(
            _FILES,
            [f"{len(damage)} of {len(sizes)} are not, the first one: {damage[0]}"] if damage else [],
            f"{len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB, by SHA-256",
        ),
        _finding(
            "logs hold what the stages logged",
            _changed_logs(run, finished),
            f"{sum(count for record in finished.values() for count, _ in record.get('logged', {}).values())} rows",
        ),
        _finding(
            "records of stages are those that were written",
            [
                f"{run.folder / 'stages.json'}: the record of '{stage}' was changed; restore it from a copy"
                for stage, record in finished.items()
                if not artefacts.is_sealed(record)
            ],
            f"{len(finished)} stages",
        ),
    ]


def _changed_logs(run: Run, finished: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = []
    for stage, record in finished.items():
        try:
            logs = artefacts.changed_rows((run.metrics, run.trajectories), stage, record.get("logged", {}))
        except RunError as error:  # a broken line, told with its number
            return [str(error)]
        found += [
            f"{log} lacks rows of stage '{stage}', or has others; restore it from a copy" for log in logs
        ]
    return found


def _finding(check: str, damage: list[str], proven: str) -> Finding:
    if damage:
        return Finding(check, Verdict.PROBLEM, "; ".join(damage))
    return Finding(check, Verdict.PROVEN, proven)
