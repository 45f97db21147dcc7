"""Build the wheel and the source archive, look into them, and install them as a stranger would.

    python tools/check_install.py build                  # what the wheel and the archive hold
    python tools/check_install.py plain                  # no extras: data, TRM, a clear line for the rest
    python tools/check_install.py extras serve,train     # each extra by itself, over an environment with the core
    python tools/check_install.py lowest                 # the oldest versions allowed: a whole tiny run
    python tools/check_install.py newest                 # the newest that can be had: the same
    python tools/check_install.py all                    # one after the other; `make installs`

Each works in a folder of its own below a temporary one, outside the checkout, so that nothing is found by accident.
torch keeps the version of constraints.txt in all of them: other versions bring gigabytes of CUDA along. `vllm` is
left out for the same reason: it needs a GPU.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TINY_RUN = [
    "--preset", "ci",
    *("--set", "data.synthetic.users=60", "--set", "data.synthetic.items=80", "--set", "trm.epochs=1"),
    *("--set", "trm.preference_steps=5", "--set", "warm_start.script_steps=10", "--set", "rl.cold_start.steps=1"),
    *("--set", "rl.recommendation.steps=1", "--set", "evaluation.max_users=8", "--set", "rl.evaluate_users=2"),
]  # fmt: skip
# What an extra is there for: the module that a stranger's program would need, or the command that uses it.
IMPORTED_BY = {
    "train": ["trl"],
    "encoders": ["sentence_transformers"],
    "index": ["faiss"],
    "serve": ["fastapi", "sqlalchemy", "deeprec.serve.app"],
    "postgres": ["psycopg", "deeprec.store"],
    "baselines": ["implicit"],
    "pretrained": ["gguf"],
    "docs": ["mkdocs", "material", "mkdocstrings_handlers.python"],
}


def main() -> None:
    """Run one of the checks; ends with the first thing that is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("check", choices=["build", "plain", "extras", "lowest", "newest", "all"])
    parser.add_argument(
        "extras", nargs="?", default=",".join(IMPORTED_BY), help="for `extras`: which, by commas"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, archive = build(folder / "dist")
        checks: dict[str, Callable[[], None]] = {
            "build": lambda: check_contents(wheel, archive),
            "plain": lambda: check_plain(core(folder, wheel), wheel),
            "extras": lambda: check_extras(folder, wheel, chosen.extras.split(",")),
            "lowest": lambda: check_lowest(folder, wheel),
            "newest": lambda: check_newest(folder, wheel),
        }
        for name in checks if chosen.check == "all" else [chosen.check]:
            started = time.monotonic()
            checks[name]()
            print(f"{name}: as it should be, {time.monotonic() - started:.0f} s", flush=True)


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source archive; the wheel is made from the archive, as an index would."""
    run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], ROOT)
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


def check_contents(wheel: Path, archive: Path) -> None:
    """Every tracked file of the package is in the wheel, and nothing else; the archive can be worked on."""
    tracked = {
        line.removeprefix("src/")
        for line in run(["git", "ls-files", "src"], ROOT).splitlines()
        if (ROOT / line).is_file()
    }
    with zipfile.ZipFile(wheel) as opened:
        inside = {name for name in opened.namelist() if ".dist-info/" not in name}
        licences = {Path(name).name for name in opened.namelist() if ".dist-info/licenses/" in name}
    require(
        inside == tracked, f"wheel: lacks {sorted(tracked - inside)}, has besides {sorted(inside - tracked)}"
    )
    wanted = {"LICENSE", *(Path(name).name for name in tracked if "LICENSE" in name)}
    require(
        licences == wanted, f"wheel: its metadata has the licences {sorted(licences)}, not {sorted(wanted)}"
    )
    with tarfile.open(archive) as opened:
        names = {name.split("/", 1)[1] for name in opened.getnames() if "/" in name}
    needed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "Makefile"}
    needed |= {f"src/{name}" for name in tracked}
    require(needed <= names, f"archive: lacks {sorted(needed - names)}")
    stray = [name for name in names if "__pycache__" in name or name.startswith((".venv", "runs/", "build/"))]
    require(not stray, f"archive: holds {stray}")


def core(folder: Path, wheel: Path) -> Path:
    """The environment without extras, made once."""
    here = folder / "core"
    return here if here.is_dir() else environment(here, str(wheel), "-c", str(ROOT / "constraints.txt"))


def check_plain(here: Path, wheel: Path) -> None:
    """Without extras: everything up to the TRM works, and the rest says in one line what it needs."""
    python, deeprec = here / "bin" / "python", here / "bin" / "deeprec"
    version = PROJECT["version"]
    require(
        run([python, "-c", "import deeprec; print(deeprec.__version__)"], here).strip() == version, "version"
    )
    require(version in run([deeprec, "--version"], here), "--version")
    run([deeprec, "--help"], here)
    run([deeprec, "data", "prepare", "synthetic", "--run", "run", "--set", "data.synthetic.users=60"], here)
    run(
        [deeprec, "trm", "fit", "--run", "run", "--set", "trm.epochs=1", "--set", "trm.preference_steps=5"],
        here,
    )
    needs = {"policy init --run run": "train", "quickstart --run other": "train", "serve run": "serve"}
    for words, extra in needs.items():
        outcome = subprocess.run(
            [deeprec, *words.split()], cwd=here, capture_output=True, text=True, check=False
        )
        line = outcome.stderr.strip()
        wanted = f'install "{PROJECT["name"]}[{extra}] @ {wheel.as_uri()}"'
        require(outcome.returncode == 2 and line.count("\n") == 0 and wanted in line, f"{words}: {outcome}")


def check_extras(folder: Path, wheel: Path, extras: Sequence[str]) -> None:
    """Each extra alone brings what its part of the package imports; `train` makes a whole tiny run."""
    below = core(folder, wheel)
    for extra in extras:
        require(extra in IMPORTED_BY, f"unknown extra '{extra}'; known: {', '.join(IMPORTED_BY)}")
        wanted = f"{PROJECT['name']}[{extra}] @ {wheel.as_uri()}"
        here = environment(folder / extra, wanted, "-c", str(ROOT / "constraints.txt"), below=below)
        run([here / "bin" / "python", "-c", f"import {', '.join(IMPORTED_BY[extra])}"], here)
        if extra == "train":
            tiny_run(here)
        shutil.rmtree(here)


def check_lowest(folder: Path, wheel: Path) -> None:
    """A whole tiny run on the oldest versions of everything that pyproject.toml names for it."""
    pins = folder / "lowest.txt"
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["train"]]
    pins.write_text("\n".join([*lowest(lines), newest_torch()]) + "\n", encoding="utf-8")
    here = environment(folder / "lowest", f"{PROJECT['name']}[train] @ {wheel.as_uri()}", "-c", str(pins))
    tiny_run(here)
    shutil.rmtree(here)


def check_newest(folder: Path, wheel: Path) -> None:
    """A whole tiny run on the newest versions that pip finds; only torch is pinned."""
    here = environment(folder / "newest", f"{PROJECT['name']}[train] @ {wheel.as_uri()}", newest_torch())
    tiny_run(here)
    shutil.rmtree(here)


def tiny_run(here: Path) -> None:
    """Help, a wrong option, and every stage, with the interpreter of an environment."""
    command = [here / "bin" / "python", "-c", "from deeprec.cli import main; main()"]
    run([*command, "quickstart", "--help"], here)
    wrong = subprocess.run(
        [*command, "data", "prepare", "--no-such"], cwd=here, capture_output=True, check=False
    )
    require(wrong.returncode == 2 and b"No such option" in wrong.stderr, f"{here}: a wrong option: {wrong}")
    run([*command, "quickstart", "--run", "run", *TINY_RUN], here)
    require((here / "run" / "report" / "report.html").is_file(), f"{here}: the tiny run left no report")


def lowest(requirements: Sequence[str]) -> list[str]:
    """`name==version` for each `name>=version`; torch stays out.

    >>> lowest(["numpy>=1.26", "trl>=1.16,<2", "torch>=2.11"])
    ['numpy==1.26', 'trl==1.16']
    """
    found = [re.match(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)", line) for line in requirements]
    return [f"{match[1]}=={match[2]}" for match in found if match and match[1] != "torch"]


def newest_torch() -> str:
    """The line of constraints.txt that pins torch."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def environment(folder: Path, *wanted: str, below: Path | None = None) -> Path:
    """A fresh environment with what is wanted, and a folder to work in: the same one.

    It sees the packages of the environment `below` it, so that torch is not unpacked for each extra.
    """
    run([sys.executable, "-m", "venv", str(folder)], ROOT)
    if below is not None:
        (packages,), (seen,) = folder.glob("lib/*/site-packages"), below.glob("lib/*/site-packages")
        (packages / "below.pth").write_text(f"{seen}\n", encoding="utf-8")
    run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted], folder)
    return folder


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Standard output of a command that succeeds; a stranger's environment, without this checkout's paths."""
    words = [str(word) for word in command]
    cleared = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=folder, env=cleared, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def require(holds: bool, otherwise: str) -> None:
    """End with what is wrong."""
    if not holds:
        sys.exit(f"check_install: {otherwise}")


if __name__ == "__main__":
    main()
