"""What produced a result: versions, commit and hardware."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from deeprec.distribution import installed_version


def environment() -> dict[str, Any]:
    """Versions, commit and hardware, kept with every result."""
    versions = {"deeprec": installed_version()}
    for package in ("torch", "transformers", "trl", "numpy", "polars"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "commit": _commit(),
        "machine": machine(),
        "python": platform.python_version(),
    }


def machine() -> str:
    """Processor and size of this machine in a few words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{cores} cores {platform.machine()}"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        text += f", {torch.cuda.get_device_name(0)}"
    return text


def _commit() -> str | None:
    # Only a checkout of this package has one; an installed wheel stands in somebody else's repository.
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
