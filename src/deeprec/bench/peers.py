"""Peers: other libraries, run by an interpreter of their own as scripts that write JSON."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeprec.errors import EvaluationError

SASREC = "rectools_sasrec.py"
FAISS = "faiss_search.py"
HINT = "not installed: make peers"


@dataclass(frozen=True)
class Peers:
    """The interpreter that has the peers installed, and the folder with their scripts."""

    python: Path
    scripts: Path

    @property
    def installed(self) -> bool:
        """Whether both are there; where not, rows say so instead of leaving the peer out."""
        return self.python.is_file() and self.scripts.is_dir()

    def run(self, script: str, *arguments: object, threads: int) -> dict[str, Any]:
        """What the script wrote to its `--out`; raises EvaluationError with its last words when it fails."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "peer.json"
            words = [self.python.absolute(), self.scripts / script, *arguments, "--threads", threads]
            try:
                done = subprocess.run(
                    [str(word) for word in [*words, "--out", out]],
                    env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                    capture_output=True,
                    text=True,
                    check=False,
                )
            except OSError as error:
                raise EvaluationError(
                    f"--peer-python {self.python}: can't be run ({error.strerror}); name a Python interpreter"
                ) from None
            if done.returncode or not out.is_file():
                last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
                raise EvaluationError(
                    f"{self.scripts / script}: failed ({last}); run `make peers` again, or leave out --peer-python"
                )
            found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
            return found
