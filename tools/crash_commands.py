"""What the crash tests run: a quickstart in children of one process, what it ends with, and what it says."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

SETTINGS = (
    "data.synthetic.users=60", "data.synthetic.items=24", "data.synthetic.interactions_per_user=12",
    "trm.width=16", "trm.text_dim=16", "trm.epochs=12", "trm.patience=12", "trm.preference_steps=20",
    "policy.width=32", "policy.heads=2", "policy.key_value_heads=1", "policy.inner=64", "policy.pieces=400",
    "policy.context=512", "warm_start.text_epochs=0", "warm_start.script_steps=60",
    "warm_start.trajectories_per_step=8", "warm_start.learning_rate=1e-2", "rollout.history=3",
    "rollout.retrieved=3", "rollout.recommended=3", "rollout.segment_tokens=40", "rollout.response_tokens=240",
    "selection.stage_one_share=0.5", "rl.users_per_step=4", "rl.rollouts_per_user=4", "rl.trajectories_per_pass=8",
    "rl.save_every=1", "rl.collapse={validity = 0.0, repetition = 1.0}", "rl.cold_start.steps=3",
    "rl.recommendation.steps=3", "evaluation.bootstrap=100",
)  # fmt: skip
QUICKSTART = ["quickstart", *(word for setting in SETTINGS for word in ("--set", setting))]
RECOMMEND = ["recommend", "--user", "u1", "--json"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_LOGS = ("metrics.jsonl", "trajectories.jsonl")


class Fault(Exception):  # noqa: N818
    """What must not happen."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit status (negative: a signal), what it said on standard error, and its output."""

    code: int
    said: str
    output: str


def start(words: list[str], folder: Path, limit: int | None = None) -> tuple[int, Path]:
    """`deeprec WORDS --run FOLDER` in a child of this process, which has the libraries loaded already."""
    said = Path(tempfile.mkstemp(suffix=".stderr")[1])
    child = os.fork()
    if child:
        return child, said
    code = 1
    try:
        with said.open("w") as errors, _output_of(said).open("w") as output:
            os.dup2(errors.fileno(), 2)
            os.dup2(output.fileno(), 1)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        for number in SIGNALS[1:]:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        sys.argv = ["deeprec", *words, "--run", str(folder)]
        from deeprec.cli import main

        main()
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _output_of(said: Path) -> Path:
    return said.with_suffix(".stdout")


def wait(child: int, said: Path) -> Ended:
    """The end of a child."""
    _, status = os.waitpid(child, 0)
    texts = []
    for file in (said, _output_of(said)):
        texts.append(file.read_text(errors="replace") if file.exists() else "")
        file.unlink(missing_ok=True)
    return Ended(os.waitstatus_to_exitcode(status), *texts)


def run(words: list[str], folder: Path, limit: int | None = None) -> Ended:
    """A command from beginning to end."""
    return wait(*start(words, folder, limit))


def result_of(folder: Path) -> dict[str, str]:
    """Hashes of all that a run must end with, whatever happened on the way: no times, no places.

    Taken in a child: polars starts threads, and what has threads must not fork.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "w") as pipe:
            json.dump(_result(folder), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found: dict[str, str] = json.load(pipe)
    os.waitpid(child, 0)
    return found


def _result(folder: Path) -> dict[str, str]:
    import polars as pl
    from safetensors.numpy import load_file

    found: dict[str, object] = {}
    for file in sorted(folder.rglob("*.safetensors")):
        if ".checkpoints" not in str(file):
            found[str(file.relative_to(folder))] = [
                (k, v.tobytes()) for k, v in sorted(load_file(file).items())
            ]
    for file in (*folder.glob("seen/*.parquet"), folder / "report" / "per_user.parquet"):
        frame = pl.read_parquet(file)
        names = [name for name in frame.columns if "seconds" not in name]
        found[str(file.relative_to(folder))] = frame.select(names).to_dicts()
    for name in _LOGS:
        rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        found[name] = sorted(json.dumps(_timeless(row), sort_keys=True) for row in rows)
    return {name: sha256(repr(value).encode()).hexdigest() for name, value in found.items()}


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if "seconds" not in key}


def compare(folder: Path, wanted: dict[str, str]) -> None:
    """Raise Fault where a run did not end as the undisturbed one."""
    found = result_of(folder)
    if found.keys() != wanted.keys():
        raise Fault(f"other files: {sorted(found.keys() ^ wanted.keys())}")
    differing = [name for name in wanted if found[name] != wanted[name]]
    if differing:
        raise Fault(f"ended otherwise in {', '.join(differing)}")
    left = [str(file) for file in folder.rglob("*") if file.name.endswith((".part", ".checkpoints"))]
    if left:
        raise Fault(f"left behind: {left}")


def one_line(ended: Ended) -> str:
    """What a refused command said: one line of an error of ours. Raises Fault for anything else."""
    if "Traceback" in ended.said or ended.code != 2:
        raise Fault(f"exit {ended.code}:\n{ended.said}")
    lines = [line for line in ended.said.splitlines() if "Error: " in line or "RunLocked: " in line]
    if len(lines) != 1:
        raise Fault(f"expected one line of an error:\n{ended.said}")
    return lines[0]
