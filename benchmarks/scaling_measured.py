"""Unit costs for docs/scaling.md, measured on one thread: writes the file that `benchmarks/scaling.py` derives its figures from.

    OMP_NUM_THREADS=1 python benchmarks/scaling_measured.py index --items 10000000        # 8 GB of memory at most
    OMP_NUM_THREADS=1 python benchmarks/scaling_measured.py trajectories RUN --tokenizer models/smollm2-135m
    OMP_NUM_THREADS=1 python benchmarks/scaling_measured.py users RUN                     # a run with a trained policy

Seconds are those of the processor, so that they hold on a machine that others use, too.
"""  # noqa: E501 - commands stand on one line

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deeprec.bench.data import clustered_vectors, queries_near
from deeprec.config import override_config
from deeprec.disk import write_atomically
from deeprec.evaluation.evaluate import choose_examples
from deeprec.pipeline import build_deeprec, load_stages
from deeprec.policy.loading import load_tokenizer
from deeprec.rl.scripts import scripted_trajectories
from deeprec.rollout.codec import TokenizerCodec
from deeprec.run import Run
from deeprec.trm.index import ApproximateIndex, ExactIndex

FILE = Path(__file__).with_name("scaling.json")
WIDTH, K, QUERIES = 64, 20, 100
FULL = ("rollout.template=full", "rollout.chat=false", "rollout.history=20", "rollout.response_tokens=4096",
        "rollout.segment_tokens=256", "rollout.list=free", "rollout.max_retrievals=4")  # fmt: skip


def work(call: Callable[[], object]) -> float:
    """Seconds of the processor."""
    started = time.process_time()
    call()
    return time.process_time() - started


def peak_gb() -> float:
    """The most memory that this process has had, in gigabytes (10^9)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def many_vectors(items: int) -> np.ndarray:
    """Clustered unit vectors (items + 1, WIDTH) made a million at a time; row 0 is zero."""
    vectors = np.zeros((items + 1, WIDTH), dtype=np.float32)
    for part, start in enumerate(range(1, items + 1, 1_000_000)):
        stop = min(start + 1_000_000, items + 1)
        vectors[start:stop] = clustered_vectors(stop - start, WIDTH, part)[1:]
    return vectors


def measure_index(items: int) -> dict[str, float]:
    """The index that the TRM takes: built over so many items, and asked one query at a time."""
    vectors = many_vectors(items)
    queries = queries_near(vectors, QUERIES, 1)
    started = time.process_time()
    index = ApproximateIndex(vectors)
    built = time.process_time() - started
    memory = peak_gb()
    seconds = [work(lambda query=query: index.search(query[None], K)) for query in queries]
    found = index.search(queries, K).item_indices
    best = ExactIndex(vectors).search(queries, K).item_indices
    recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, best, strict=True)])
    return {
        "items": items,
        "width": WIDTH,
        "build seconds": built,
        "search milliseconds": 1000 * statistics.median(seconds),
        "recall@20": float(recall),
        "peak GB": memory,
        "bytes an item": WIDTH * 4 + WIDTH / 2,  # float32 vectors, and codes of four bits a feature
    }


def measure_trajectories(run: Run, tokenizer: Path) -> dict[str, float]:
    """Tokens of scripted trajectories in the full template, by a pretrained model's tokenizer."""
    dataset, trm = load_stages(run)
    config = override_config(run.config, list(FULL)).rollout
    codec = TokenizerCodec(load_tokenizer(str(tokenizer)))
    rng = np.random.default_rng(0)
    (scripts,) = scripted_trajectories(dataset, trm, codec, config, 200, 8192, rng)
    whole = [script.trajectory for script in scripts if script.trajectory.is_valid]
    prompt = np.mean([len(one.prompt_ids) for one in whole])
    return {
        "trajectories": len(whole),
        "prompt tokens": float(prompt),
        "retrievals": float(np.mean([len(one.turns) for one in whole])),
        "tokens read": float(prompt + np.mean([len(one.loss_mask) - sum(one.loss_mask) for one in whole])),
        "tokens sampled": float(np.mean([sum(one.loss_mask) for one in whole])),
    }


def measure_users(run: Run, users: int) -> dict[str, float]:
    """What a list of a tiny policy costs, and what a retrieval costs beside it."""
    dataset, trm = load_stages(run)
    examples, _ = choose_examples(dataset, "test", users, 0)
    deeprec = build_deeprec(run, dataset, trm, fill_in=True)
    deeprec.recommend(examples[:16])
    seconds = work(lambda: deeprec.recommend(examples))
    histories = [example.history for example in examples]
    trm.retrieve(histories[:16], None, K)
    retrieving = work(lambda: trm.retrieve(histories, None, K, histories))
    return {
        "users": len(examples),
        "items": len(dataset.catalog.items),
        "milliseconds a user": 1000 * seconds / len(examples),
        "milliseconds a retrieval": 1000 * retrieving / len(examples),
    }


def main() -> None:
    """Measure one of the three, print it, and keep it in the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_subparsers(dest="what", required=True)
    index = what.add_parser("index")
    index.add_argument("--items", type=int, default=10_000_000)
    trajectories = what.add_parser("trajectories")
    trajectories.add_argument("run", type=Path)
    trajectories.add_argument("--tokenizer", type=Path, required=True)
    lists = what.add_parser("users")
    lists.add_argument("run", type=Path)
    lists.add_argument("--users", type=int, default=1000)
    chosen = parser.parse_args()
    if chosen.what == "index":
        key, found = f"index of {chosen.items:,} items", measure_index(chosen.items)
    elif chosen.what == "trajectories":
        key, found = "trajectories", measure_trajectories(Run.open(chosen.run), chosen.tokenizer)
    else:
        key, found = "users", measure_users(Run.open(chosen.run), chosen.users)
    print(json.dumps(found, indent=1))
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    kept[key] = {name: float(f"{value:.4g}") for name, value in found.items()}
    write_atomically(FILE, json.dumps(kept, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
