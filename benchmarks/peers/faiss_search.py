"""Peer: exact inner-product search of faiss (IndexFlatIP) on given vectors, timed.

Run by `deeprec bench trm` with the interpreter of `make peers`; imports nothing of deeprec.
The same clock as there: a batch is the best of its calls, one query the mean of the best of three each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np


def best_ms(call: Callable[[], object], calls: int) -> float:
    """Milliseconds of a call: the best of `calls`."""
    taken = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return min(taken)


def main() -> None:
    """Search, write the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--alone", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    faiss.omp_set_num_threads(options.threads)
    vectors, queries = np.load(options.vectors), np.load(options.queries)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    alone = [queries[row : row + 1] for row in range(min(options.alone, len(queries)))]
    index.search(queries, options.k)  # warms up
    found = {
        "together_ms": best_ms(lambda: index.search(queries, options.k), options.calls),
        "alone_ms": statistics.fmean(
            best_ms(lambda one=one: index.search(one, options.k), 3) for one in alone
        ),
        "version": faiss.__version__,
    }
    options.out.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
