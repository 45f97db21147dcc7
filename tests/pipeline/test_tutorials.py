"""What tutorials tell a person to type runs as it is printed, page after page, on files that an example writes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    *("--preset", "ci", "--set", "evaluation.max_users=8", "--set", "rl.evaluate_every=100"),
    *("--set", "warm_start.script_steps=60", "--set", "trm.epochs=2", "--set", "rl.cold_start.steps=1"),
    *("--set", "rl.recommendation.steps=1", "--set", "rl.evaluate_users=4"),
)
PROGRAM = [sys.executable, "-c", "from deeprec.cli import main; main()"]
PORT = "http://127.0.0.1:8000"


@dataclass
class Reader:
    """Somebody who types what pages say, in one folder; what was printed, by the beginning of the command."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)

    def follow(self, page: str) -> None:
        """Type every command of a page; a service runs beside those that follow it, on a port that is free."""
        with ExitStack() as services:
            address = PORT
            for words in commands(page):
                if words[:2] == ["deeprec", "serve"]:
                    address = services.enter_context(self._service(words))
                elif words[0] != "pip":  # tools/check_install.py does that, in an environment of its own
                    self._type(words, address)

    def _type(self, words: list[str], address: str) -> None:
        """A training is made small; a request that is refused is an error, as a command that fails is."""
        changed = dict(word.split("=", 1) for word in words if re.match("[A-Z]+=", word))
        name, *rest = (word.replace(PORT, address) for word in words[len(changed) :])
        program = {"deeprec": PROGRAM, "python": [sys.executable], "curl": ["curl", "--fail-with-body"]}
        more = SMALL if rest[0] == "quickstart" else ()
        command = [*program[name], *rest, *more]
        searched = os.pathsep.join(filter(None, (changed.get("PYTHONPATH"), os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            command, cwd=self.folder, env=os.environ | {"PYTHONPATH": searched},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        self.said[" ".join(words[:3])] = done.stdout

    @contextmanager
    def _service(self, words: list[str]) -> Iterator[str]:
        command = [*PROGRAM, *words[1:], "--port", "0"]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.communicate()


def commands(page: str) -> list[list[str]]:
    """The commands of the page's shell blocks, in order, without comments."""
    text = (ROOT / "docs" / "tutorials" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Who has followed the first page already: their own data, from files to a report."""
    folder = tmp_path_factory.mktemp("tutorials")
    (folder / "examples").symlink_to(ROOT / "examples")
    found = Reader(folder)
    found.follow("own-data.md")
    return found


@pytest.mark.slow
def test_your_own_data_from_files_to_a_report(reader: Reader) -> None:
    assert "milliseconds: 2020-" in reader.said["deeprec data inspect"]
    assert re.search(r"users\s+│\s+150 ", reader.said["deeprec data show"])
    report = reader.folder / "runs" / "shop" / "report" / "report.html"
    assert "Kettle" in report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_your_own_trm(reader: Reader) -> None:
    reader.follow("own-trm.md")
    assert (reader.folder / "runs" / "own" / "report" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="the page uses curl")
def test_what_users_say(reader: Reader) -> None:
    reader.follow("wishes.md")
    assert (reader.folder / "runs" / "shop-wishes" / "report" / "report.html").is_file()
    assert '"items"' in reader.said["curl -s " + PORT + "/v1/recommendations"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="the page uses curl")
def test_in_production(reader: Reader) -> None:
    reader.follow("production.md")
    assert (reader.folder / "exports" / "may" / "next.toml").is_file()
    assert (reader.folder / "runs" / "shop-may" / "report" / "report.html").is_file()
