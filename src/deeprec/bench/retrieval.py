"""How fast the index finds the best items, beside plain scans of the whole catalogue."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deeprec.bench.data import clustered_vectors, queries_near
from deeprec.bench.peers import FAISS, HINT, Peers
from deeprec.bench.rows import Row, make_row
from deeprec.bench.timing import call_ms, each_ms
from deeprec.trm.index import ApproximateIndex, build_index

K = 20
_TOGETHER, _ALONE, _CALLS = 256, 100, 10
_TORCH = "torch topk of all scores"

Vectors = NDArray[np.float32]
Search = Callable[[Vectors], object]


@dataclass(frozen=True)
class _Times:
    """Milliseconds of a search for a batch and for one query."""

    together: float
    alone: float


def exact_rows(items: int, width: int, peers: Peers, *, rounds: int, seed: int) -> Iterator[Row]:
    """The exact list: a batch of queries and a single one, beside torch and faiss in alternating rounds."""
    vectors = clustered_vectors(items, width, seed)
    queries = queries_near(vectors, _TOGETHER, seed + 1)
    index = build_index(vectors, approximate=False)
    ours, peer, faiss = [], [], []
    for _ in range(rounds):
        ours.append(_times(lambda asked: index.search(asked, K), queries))
        peer.append(_times(_scan(vectors), queries))
        faiss += _faiss(peers, vectors, queries)
    for name, key in ((f"{len(queries)} queries", "together"), ("one query", "alone")):
        value = min(getattr(times, key) for times in ours)
        for who, found in ((_TORCH, peer), ("faiss IndexFlatIP", faiss)):
            other = min(getattr(times, key) for times in found) if found else None
            label = who if found else f"{who}, {HINT}"
            yield make_row(f"exact top {K} of {items:,}, {name}", value, "ms", label, other)


def approximate_rows(items: int, width: int, peers: Peers, *, rounds: int, seed: int) -> Iterator[Row]:
    """One query among very many items: time, and share of the exact list that is found.

    The index is the one that the TRM takes for so many items: an exact one where they are few,
    or faiss is not installed beside deeprec.
    """
    vectors = clustered_vectors(items, width, seed)
    queries = queries_near(vectors, _ALONE, seed + 1)
    started = time.perf_counter()
    index = build_index(vectors)
    built = time.perf_counter() - started
    ours, peer, faiss = [], [], []
    for _ in range(rounds):
        ours.append(each_ms(lambda asked: index.search(asked, K), _one_by_one(queries)))
        peer.append(each_ms(_scan(vectors), _one_by_one(queries[:_CALLS])))
        faiss += [times.alone for times in _faiss(peers, vectors, queries[:_CALLS])]
    kind = "approximate" if isinstance(index, ApproximateIndex) else "exact"
    name = f"{kind} top {K} of {items:,}"
    value = min(ours)
    yield make_row(f"{name}, one query", value, "ms", f"exact scan, {_TORCH}", min(peer))
    label = "exact scan, faiss IndexFlatIP"
    other = min(faiss) if faiss else None
    yield make_row(f"{name}, one query", value, "ms", label if faiss else f"{label}, {HINT}", other)
    share = _share_found(np.asarray(index.search(queries, K).item_indices), vectors, queries)
    yield make_row(f"{name}, share of the exact list", share, "share", "exact scan", 1.0)
    yield make_row(f"index of {items:,} items, built once", built, "s", "exact scan needs none", None)


def _times(search: Search, queries: Vectors) -> _Times:
    alone = each_ms(search, _one_by_one(queries[:_ALONE]))
    return _Times(call_ms(lambda: search(queries), _CALLS), alone)


def _one_by_one(queries: Vectors) -> list[Vectors]:
    return [queries[row : row + 1] for row in range(len(queries))]


def _scan(vectors: Vectors) -> Search:
    """All scores, then torch's top k: what one writes without an index."""
    table = torch.from_numpy(vectors[1:])
    return lambda queries: (torch.from_numpy(queries) @ table.T).topk(K, dim=1)


def _share_found(found: NDArray[np.int64], vectors: Vectors, queries: Vectors) -> float:
    """Mean share of each exact top K that `found` (Q, K) holds."""
    table = torch.from_numpy(vectors[1:])
    shares = []
    for items, query in zip(found, queries, strict=True):
        best = (table @ torch.from_numpy(query)).topk(K).indices.numpy() + 1
        shares.append(len(np.intersect1d(items, best)) / K)
    return statistics.fmean(shares)


def _faiss(peers: Peers, vectors: Vectors, queries: Vectors) -> list[_Times]:
    """Times of faiss' exact index; empty where it is not installed."""
    if not peers.installed:
        return []
    with tempfile.TemporaryDirectory() as folder:
        for name, values in (("vectors", vectors[1:]), ("queries", queries)):
            np.save(Path(folder) / f"{name}.npy", values)
        files = ("--vectors", f"{folder}/vectors.npy", "--queries", f"{folder}/queries.npy")
        sizes = ("--k", K, "--calls", _CALLS, "--alone", _ALONE)
        found: dict[str, Any] = peers.run(FAISS, *files, *sizes, threads=torch.get_num_threads())
    return [_Times(float(found["together_ms"]), float(found["alone_ms"]))]
