"""Crash tests: a small run is killed, its disk fills up, its files are damaged; nothing may be lost or hidden.

    python tools/crash.py --kills 20 --full 20 --damage 100
    python tools/crash.py --full 5 --seed 1234        # the rounds of that seed again

Every round draws from the seed, which is printed. `deeprec quickstart` runs in a process of its own.

- kill: SIGKILL, SIGTERM or SIGINT at random moments, several times in a row. The same command must go on and
  end with the weights, figures and logs of the run that nothing disturbed.
- full: the run lies on a file system of a random size, or on one that another program fills at a random moment
  (a tmpfs, which takes root; otherwise a limit on the size of files). The command must end with one line that names
  a place, without a traceback; with more room the same command must end as the undisturbed run, and whatever was
  finished before must be kept.
- damage: a random file of the finished run is deleted, cut, flipped or replaced. `deeprec doctor` must call the run
  broken, and `deeprec recommend` answer as ever or refuse in one line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
_QUICKSTART = ["quickstart", *(word for setting in SETTINGS for word in ("--set", setting))]
_RECOMMEND = ["recommend", "--user", "u1", "--json"]
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
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
        for number in _SIGNALS[1:]:
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


def kill_round(rng: random.Random, place: Path, seconds: float, wanted: dict[str, str]) -> str:
    """Kill a run a few times, then let it end."""
    folder, story = place / "run", []
    for _ in range(rng.randint(1, 4)):
        child, said = start(_QUICKSTART, folder)
        moment, number = rng.uniform(0.0, seconds), rng.choice(_SIGNALS)
        time.sleep(moment)
        os.kill(child, number)
        ended = wait(child, said)
        story.append(f"{number.name} at {moment:.2f} s")
        if "Traceback" in ended.said:
            raise Fault(f"{story}: a traceback:\n{ended.said}")
    ended = run(_QUICKSTART, folder)
    if ended.code:
        raise Fault(f"{story}: the same command ended with {ended.code}:\n{ended.said}")
    compare(folder, wanted)
    return ", ".join(story)


def full_round(rng: random.Random, place: Path, need: int, seconds: float, wanted: dict[str, str]) -> str:
    """Too small a disk from the beginning, or one that another program fills meanwhile; then room, and the end."""
    folder, filler = place / "disk" / "run", place / "disk" / "filler"
    fills = rng.random() < 0.6
    size = 64 * 2**20 if fills else rng.randrange(64 * 1024, need)
    with small_disk(place / "disk", size) as (resize, limit):
        child, said = start(_QUICKSTART, folder, limit)
        story = [f"{size // 1024} KiB"]
        if fills and limit is None:
            moment, left = rng.uniform(0.0, seconds), rng.choice([0, rng.randrange(400 * 1024)])
            time.sleep(moment)
            story = [f"filled at {moment:.1f} s but for {_fill(filler, left) // 1024} KiB"]
        ended = wait(child, said)
        if ended.code:
            line = one_line(ended)
            story.append(line[:200])
            if str(place) not in line:
                raise Fault(f"{story}: names no place: {line}")
        finished = _finished(folder)
        filler.unlink(missing_ok=True)
        resize()
        ended = run(_QUICKSTART, folder)
        if ended.code:
            raise Fault(f"{story}: with more room the same command ended with {ended.code}:\n{ended.said}")
        changed = [stage for stage, time_ in finished.items() if _finished(folder)[stage] != time_]
        if changed:
            raise Fault(f"{story}: made again though finished: {changed}")
        compare(folder, wanted)
    return ": ".join(story)


def _fill(filler: Path, left: int) -> int:
    """Take all space of a disk but for `left` bytes; returns what is free then."""
    free = max(0, shutil.disk_usage(filler.parent).free - left)
    try:
        with filler.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(1, free))
    except OSError:  # the run took some meanwhile: then it is full already
        pass
    return shutil.disk_usage(filler.parent).free


def _finished(folder: Path) -> dict[str, str]:
    file = folder / "stages.json"
    return (
        {name: entry["time"] for name, entry in json.loads(file.read_text()).items()}
        if file.is_file()
        else {}
    )


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[tuple[Callable[[], None], int | None]]:
    """A file system of `size` bytes at `folder`, and what makes it large; without root a limit on files instead."""
    folder.mkdir()
    mounted = can_mount(folder, size)
    try:
        if mounted:
            grow = ["mount", "-o", "remount,size=1g", str(folder)]
            yield (lambda: subprocess.run(grow, check=True) and None), None
        else:
            yield (lambda: None), size // 8  # of a single file
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def can_mount(folder: Path, size: int) -> bool:
    """Mount a tmpfs of that size; whether that is allowed here."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return shutil.which("mount") is not None and subprocess.run(words, capture_output=True).returncode == 0


def damage_round(rng: random.Random, place: Path, whole: Path, answer: str) -> str:
    """Damage one file of a copy of the whole run."""
    folder = place / "run"
    shutil.copytree(whole, folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file() and _counts(file.relative_to(folder)))
    file = rng.choice(files)
    how = harm(rng, file)
    story = f"{file.relative_to(folder)} {how}"
    for words in (["doctor"], _RECOMMEND):
        ended = run(words, folder)
        if "Traceback" in ended.said:
            raise Fault(f"{story}: {words[0]} gave a traceback:\n{ended.said}")
        if words is not _RECOMMEND:
            if ended.code == 0:
                raise Fault(f"{story}: the doctor calls the run whole")
        elif ended.code:
            one_line(ended)
        elif ended.output != answer and file.name != "run.toml":  # other settings may ask for another answer
            raise Fault(f"{story}: the answer is another one:\n{ended.output}")
    return story


def _counts(file: Path) -> bool:
    """Whether the run stands on a file: TensorBoard's and the lock are copies, `threads.json` a note."""
    return not {"tensorboard", "run.lock", "threads.json", "cache"} & set(file.parts)


def harm(rng: random.Random, file: Path) -> str:
    """Damage a file at random; says how."""
    content = file.read_bytes()
    how = rng.choice(["deleted", "emptied", "cut", "flipped", "replaced"] if content else ["deleted"])
    place = rng.randrange(max(1, len(content)))
    if how == "deleted":
        file.unlink()
    elif how == "flipped":
        file.write_bytes(
            content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
        )
    else:
        file.write_bytes(
            {"emptied": b"", "cut": content[:place], "replaced": rng.randbytes(len(content))}[how]
        )
    return f"{how} at {place}" if how in ("cut", "flipped") else how


def main() -> int:
    """Run the rounds; exit 1 with the seeds of those that failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, of in (("kills", "killed runs"), ("full", "full disks"), ("damage", "damaged files")):
        parser.add_argument(f"--{name}", type=int, default=0, help=f"rounds of {of}")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of all rounds"
    )
    asked = parser.parse_args()
    import torch
    import trl  # noqa: F401

    import deeprec.pipeline  # noqa: F401 - children find the libraries loaded

    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that disks are unmounted
    with tempfile.TemporaryDirectory(prefix="deeprec-crash-") as scratch:
        return rounds(asked, Path(scratch))


def rounds(asked: argparse.Namespace, scratch: Path) -> int:
    """The undisturbed run, then every round; returns the exit status."""
    whole, begun = scratch / "whole", time.monotonic()
    ended = run(_QUICKSTART, whole)
    if ended.code:
        print(ended.said)
        return 1
    seconds, wanted = time.monotonic() - begun, result_of(whole)
    need = int(2 * sum(file.stat().st_size for file in whole.rglob("*") if file.is_file()))
    answer = run(_RECOMMEND, whole).output
    print(f"seed {asked.seed}; undisturbed: {seconds:.1f} s", flush=True)
    kinds: dict[str, Callable[[random.Random, Path], str]] = {
        "kills": lambda rng, place: kill_round(rng, place, seconds, wanted),
        "full": lambda rng, place: full_round(rng, place, need, seconds, wanted),
        "damage": lambda rng, place: damage_round(rng, place, whole, answer),
    }
    failed = 0
    for kind, play in kinds.items():
        for number in range(getattr(asked, kind)):
            place = Path(tempfile.mkdtemp(dir=scratch))
            try:
                told = f"ok    {kind} {number}: {play(random.Random(f'{asked.seed}/{kind}/{number}'), place)}"
            except Fault as fault:
                failed += 1
                told = f"FAULT {kind} {number} of seed {asked.seed}: {fault}"
            print(told, flush=True)
            shutil.rmtree(place, ignore_errors=True)
    print(f"{failed} faults, {time.monotonic() - begun:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
