"""Memory that is freed stays with the process, where the C library can do that."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource
import torch
from deeprec.allocator import keep_freed_memory

kept = {keep} and keep_freed_memory()
torch.set_num_threads(1)
for _ in range(20):  # the first times pages are new
    torch.zeros(16_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.zeros(16_000_000)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not the GNU C library")


def _faults(keep: bool, **environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and how many pages five blocks of 64 MB had to get anew."""
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS.format(keep=keep)],
        env={"PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@needs_glibc
def test_a_block_is_not_fetched_from_the_system_again() -> None:
    _, before = _faults(keep=False)
    kept, after = _faults(keep=True)
    assert kept
    assert after * 10 < before


@needs_glibc
def test_what_the_environment_says_stays() -> None:
    assert _faults(keep=True, MALLOC_ARENA_MAX="2")[0] is False
