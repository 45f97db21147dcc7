"""What another program on one core costs a training step: the chosen threads, one thread and all, quiet and busy.

python benchmarks/busy_core.py [--rounds 20] [--json]

The step is the one that every stage of the policy tries before it chooses (a forward and backward pass, and some
tokens written one by one), of a random policy with the default sizes. Run it on a machine that does nothing else: the
other program is started here, a loop that keeps one core busy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from deeprec.threads import choose_threads, computing_with, usable_cores, wait_passively

wait_passively()  # as the command line does: before torch is loaded

from deeprec.config import load_config  # noqa: E402
from deeprec.data.prepare import prepare  # noqa: E402
from deeprec.policy.probe import training_piece  # noqa: E402
from deeprec.rl.warm_start import make_policy  # noqa: E402

MOST = 1.6  # times the quiet step, at most


@contextmanager
def busy_core() -> Iterator[None]:
    """One process that computes without end for the length of the block."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.5)
        yield
    finally:
        other.kill()
        other.wait()


def seconds(step: Callable[[], object], threads: int, rounds: int) -> float:
    """Median seconds of a step with so many threads."""
    found = []
    with computing_with(threads):
        for _ in range(rounds):
            started = time.perf_counter()
            step()
            found.append(time.perf_counter() - started)
    return statistics.median(found)


def measure(step: Callable[[], object], rounds: int) -> list[dict[str, object]]:
    """A row for the quiet and one for the busy machine."""
    rows: list[dict[str, object]] = []
    for name, state in (("quiet", nullcontext()), ("one core busy", busy_core())):
        with state:
            choice = choose_threads(step)
            rows.append(
                {
                    "machine": name,
                    "chosen": str(choice),
                    "chosen_ms": 1000 * seconds(step, choice.threads, rounds),
                    "one_ms": 1000 * seconds(step, 1, rounds),
                    "all_ms": 1000 * seconds(step, usable_cores(), rounds),
                }
            )
    return rows


def main() -> None:
    """Measure and print; ends with 1 where a busy core costs more than it may."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="one object a line")
    arguments = parser.parse_args()
    config = load_config("synthetic")
    policy = make_policy(config, prepare(config.data, config.seed))
    rows = measure(training_piece(policy.model), arguments.rounds)
    for row in rows:
        line = "{machine}: {chosen}: {chosen_ms:.0f} ms; 1 thread {one_ms:.0f} ms, all {all_ms:.0f} ms"
        sys.stdout.write((json.dumps(row) if arguments.json else line.format(**row)) + "\n")
    share = float(str(rows[1]["chosen_ms"])) / float(str(rows[0]["chosen_ms"]))
    sys.stdout.write(f"a step takes {share:.2f} times as long with one core busy (at most {MOST})\n")
    sys.exit(share > MOST)


if __name__ == "__main__":
    main()
