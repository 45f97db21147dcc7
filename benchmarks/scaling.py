"""docs/scaling.md in figures: what 1e8 users, 1e7 items and a policy of 7B cost, from unit costs and named assumptions.

    python benchmarks/scaling.py                 # the table; --users, --items, --price for others

Unit costs lie in benchmarks/scaling.json, written by benchmarks/scaling_measured.py.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields
from pathlib import Path

FILE = Path(__file__).with_name("scaling.json")
HOUR = 3600


@dataclass(frozen=True)
class Assumed:
    """What nobody here has measured. Sources stand in docs/scaling.md."""

    users: float = 1e8
    items: float = 1e7
    parameters: float = 7.616e9  # Qwen2.5-7B, from its shape (docs/howto/gpu.md)
    engine_tokens: float = (
        17_493  # a second on an H100, read and sampled together, bfloat16: half of FP8's 34,986
    )
    peak_flops: float = 989e12  # of an H100 in bfloat16, dense
    utilisation: float = 0.4  # of it, in training
    flops: float = 8  # a parameter and a token of training: 2 forward, 2 again (checkpointing), 4 backward
    price: float = 3.0  # dollars an hour of an H100
    core_price: float = 0.04  # dollars an hour of a core
    night: float = 8.0  # hours
    link: float = 50e9  # bytes a second into and out of a GPU's machine, its share of it
    gpus: float = 16  # that train
    iterations: float = 100  # 20 + 80
    trajectories: float = 1024  # of an iteration: 128 x 8
    updates: float = 2  # of an iteration
    interactions: float = 50  # of a user
    text_width: float = 128  # of a text vector


@dataclass(frozen=True)
class Measured:
    """Unit costs on one thread of the machine that the file names."""

    read: float  # tokens of a trajectory that the policy reads
    sampled: float
    retrievals: float
    search: float  # seconds of a core, over `searched` items
    searched: float
    index_bytes: float  # of an item
    recall: float
    tiny: float  # seconds of a core for a user's list by a tiny policy

    @property
    def tokens(self) -> float:
        """Of a trajectory, read and sampled."""
        return self.read + self.sampled


def load_measured() -> Measured:
    """The file's unit costs, the index being the largest that was measured."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    index = max(
        (values for key, values in found.items() if key.startswith("index")), key=lambda one: one["items"]
    )
    said, users = found["trajectories"], found["users"]
    return Measured(
        said["tokens read"], said["tokens sampled"], said["retrievals"], index["search milliseconds"] / 1000,
        index["items"], index["bytes an item"], index["recall@20"],
        users["milliseconds a user"] / 1000,
    )  # fmt: skip


def training(a: Assumed, m: Measured) -> list[tuple[str, str]]:
    """The two stages of RL."""
    trajectories = a.iterations * a.trajectories
    rolled = trajectories * m.tokens / a.engine_tokens / HOUR
    trained = trajectories * m.tokens * a.flops * a.parameters / (a.peak_flops * a.utilisation) / HOUR
    sync = 2 * a.parameters
    gradients = a.updates * 2 * 2 * a.parameters * (a.gpus - 1) / a.gpus
    asked = a.trajectories * m.retrievals * (100 + 4 * a.interactions + 12 * 20)
    return [
        ("trajectories, tokens", f"{trajectories:,.0f}, {trajectories * m.tokens:.2e}"),
        ("GPU hours of rollouts", f"{rolled:.1f}"),
        ("GPU hours of training passes", f"{trained:.1f}"),
        ("dollars", f"{(rolled + trained) * a.price:,.0f}"),
        (f"hours on {a.gpus:.0f} GPUs", f"{(rolled + trained) / a.gpus:.1f}"),
        ("GB of weights into each engine, an iteration", f"{sync / 1e9:.1f}"),
        ("GB of gradients and weights out of each GPU, an iteration", f"{gradients / 1e9:.0f}"),
        ("seconds of both on the link", f"{(sync + gradients) / a.link:.1f}"),
        ("MB of questions to a TRM elsewhere, an iteration", f"{asked / 1e6:.1f}"),
    ]


def nightly(a: Assumed, m: Measured) -> list[tuple[str, str]]:
    """A list for everybody."""
    hours = a.users * m.tokens / a.engine_tokens / HOUR
    cores = a.users * (m.retrievals + 1) * m.search * (a.items / m.searched) / HOUR
    tiny = a.users * m.tiny / HOUR
    dollars = hours * a.price + cores * a.core_price
    return [
        ("tokens", f"{a.users * m.tokens:.2e}"),
        ("GPU hours", f"{hours:,.0f}"),
        (f"GPUs for a night of {a.night:.0f} hours", f"{hours / a.night:,.0f}"),
        ("core hours of retrieval", f"{cores:,.0f}"),
        ("dollars", f"{dollars:,.0f}"),
        ("dollars a user", f"{dollars / a.users:.1e}"),
        ("the same by a tiny policy, core hours", f"{tiny:,.0f}"),
        ("of which 1e6 users, core hours (extrapolated)", f"{1e6 * m.tiny / HOUR:.1f}"),
        ("GB written, at 86 bytes a user", f"{86 * a.users / 1e9:.1f}"),
    ]


def memory(a: Assumed, m: Measured) -> list[tuple[str, str]]:
    """What a machine that retrieves holds, and what a fit of the TRM would."""
    vectors, texts = m.index_bytes * a.items / 1e9, 4 * a.text_width * a.items / 1e9
    softmax = a.users * a.interactions * 6 * 64 * a.items / (a.peak_flops * a.utilisation) / HOUR
    return [
        ("GB of the index: vectors and codes of four bits", f"{vectors:.1f}"),
        ("GB of text vectors", f"{texts:.1f}"),
        (
            f"core milliseconds a search, from {m.searched:,.0f} items",
            f"{1000 * m.search * a.items / m.searched:.0f}",
        ),
        ("recall@20 beside the exact list, there", f"{m.recall:.3f}"),
        ("GB of interactions, 12 bytes each", f"{12 * a.users * a.interactions / 1e9:.0f}"),
        ("GPU hours of an epoch of the TRM's softmax", f"{softmax:,.0f}"),
    ]


def table(a: Assumed, m: Measured) -> str:
    """Everything, as docs/scaling.md shows it."""
    parts = (("training", training), ("nightly batch", nightly), ("TRM and index", memory))
    lines = [f"{a.users:.0e} users, {a.items:.0e} items, {a.parameters / 1e9:.1f}e9 parameters"]
    for name, derive in parts:
        lines += ["", name, *(f"  {what:58} {value:>12}" for what, value in derive(a, m))]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for field in fields(Assumed):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    print(table(Assumed(**vars(parser.parse_args())), load_measured()))


if __name__ == "__main__":
    main()
