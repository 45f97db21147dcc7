"""Where everything lies in a run folder; architecture.md says what each place holds, and who writes it."""

from __future__ import annotations

from pathlib import Path

from deeprec.methods import TRM_REFIT


class Layout:
    """The places of one run folder, whether anything is there or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def data(self) -> Path:
        """The prepared data set."""
        return self.folder / "data"

    @property
    def trm(self) -> Path:
        """The fitted TRM."""
        return self.folder / "trm"

    @property
    def trm_refit(self) -> Path:
        """The TRM fitted on everything before validation: the stronger baseline."""
        return self.folder / TRM_REFIT

    def rival(self, name: str) -> Path:
        """What a rival learned."""
        return self.folder / "rivals" / name.replace(":", "-")  # one of your own: no colon in a file's name

    def policy(self, stage: str) -> Path:
        """Policy weights after `warm_start`, `cold_start` or `recommendation`."""
        return self.folder / "policy" / stage

    @property
    def metrics(self) -> Path:
        """One JSON object a line: everything that was logged while training."""
        return self.folder / "metrics.jsonl"

    @property
    def trajectories(self) -> Path:
        """One JSON object a line: trajectories with their reward parts."""
        return self.folder / "trajectories.jsonl"

    @property
    def report(self) -> Path:
        """Evaluation results and the HTML report."""
        return self.folder / "report"
