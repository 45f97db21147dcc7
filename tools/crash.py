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
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crash_commands import (
    QUICKSTART,
    RECOMMEND,
    SIGNALS,
    Fault,
    compare,
    one_line,
    result_of,
    run,
    start,
    wait,
)


def kill_round(rng: random.Random, place: Path, seconds: float, wanted: dict[str, str]) -> str:
    """Kill a run a few times, then let it end."""
    folder, story = place / "run", []
    for _ in range(rng.randint(1, 4)):
        child, said = start(QUICKSTART, folder)
        moment, number = rng.uniform(0.0, seconds), rng.choice(SIGNALS)
        time.sleep(moment)
        os.kill(child, number)
        ended = wait(child, said)
        story.append(f"{number.name} at {moment:.2f} s")
        if "Traceback" in ended.said:
            raise Fault(f"{story}: a traceback:\n{ended.said}")
    ended = run(QUICKSTART, folder)
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
        child, said = start(QUICKSTART, folder, limit)
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
        ended = run(QUICKSTART, folder)
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
    for words in (["doctor"], RECOMMEND):
        ended = run(words, folder)
        if "Traceback" in ended.said:
            raise Fault(f"{story}: {words[0]} gave a traceback:\n{ended.said}")
        if words is not RECOMMEND:
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
    ended = run(QUICKSTART, whole)
    if ended.code:
        print(ended.said)
        return 1
    seconds, wanted = time.monotonic() - begun, result_of(whole)
    need = int(2 * sum(file.stat().st_size for file in whole.rglob("*") if file.is_file()))
    answer = run(RECOMMEND, whole).output
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
