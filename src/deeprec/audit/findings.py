"""What an audit says: one finding a check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended."""

    PROVEN = "proven"
    PROBLEM = "problem"
    UNPROVEN = "unproven"  # the files that would prove it are not there


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of a run: what was checked, how it ended, and what was found."""

    check: str
    verdict: Verdict
    text: str
