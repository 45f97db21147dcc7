"""What tutorials tell a person to type runs as it is printed, on files that an example writes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--preset", "ci", "--set", "evaluation.max_users=8", "--set", "rl.evaluate_every=100")


def commands(page: str) -> list[list[str]]:
    """The commands of the page's shell blocks, in order, without comments."""
    text = (ROOT / "docs" / "tutorials" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def typed(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What a command does in `folder`; a training is made small."""
    program = {
        "deeprec": [sys.executable, "-c", "from deeprec.cli import main; main()"],
        "python": [sys.executable],
    }
    more = SMALL if words[1] == "quickstart" else ()
    command = [*program[words[0]], *words[1:], *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.slow
def test_your_own_data_from_files_to_a_report(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    said = {}
    for words in commands("own-data.md"):
        done = typed(words, tmp_path)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        said[" ".join(words[:3])] = done.stdout
    assert "milliseconds: 2020-" in said["deeprec data inspect"]
    assert re.search(r"users\s+│\s+150 ", said["deeprec data show"])
    assert "Kettle" in (tmp_path / "runs" / "shop" / "report" / "report.html").read_text(encoding="utf-8")
