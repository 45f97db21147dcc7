"""How fast the TRM's encoder trains, beside RecTools' SASRec in alternating rounds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from deeprec.bench.peers import HINT, SASREC, Peers
from deeprec.bench.rows import Row, make_row
from deeprec.bench.timing import call_ms, each_ms
from deeprec.config import TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.data.format import write_dataset
from deeprec.errors import ConfigError
from deeprec.progress import progress_bar
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.model import HEADS
from deeprec.trm.retriever import TRM
from deeprec.trm.text import CachedEncoder
from deeprec.trm.training import fit

_WARM_UP_EPOCHS = 1
_PRECISIONS = ("auto", "float32")
_TOGETHER, _CALLS, _K = 256, 10, 20


@dataclass
class _Measured:
    """Tokens per second of each round, by who trained, and the times of retrieval."""

    speeds: dict[str, list[float]] = field(default_factory=dict)
    peer: list[dict[str, Any]] = field(default_factory=list)


def training_rows(
    dataset: Dataset, config: TRMConfig, peers: Peers, *, rounds: int, seed: int
) -> Iterator[Row]:
    """Tokens per second with each precision, then the time of a whole retrieval.

    A token is one trained position: a real target, no padding. Each round trains every
    contestant anew, for an epoch that warms up and one that counts, without validation.
    """
    measured = _Measured()
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(dataset, Path(folder) / "data")
        encoder = build_text_encoder(config, dataset.catalog, seed, Path(folder) / "cache")
        with progress_bar("train", rounds) as bar:
            for number in range(rounds):
                for precision in _PRECISIONS:
                    chosen = config.model_copy(update={"precision": precision})
                    speed, trm = train_speed(dataset, encoder, chosen, 1, seed + number)
                    measured.speeds.setdefault(precision, []).append(speed)
                if peers.installed:
                    measured.peer.append(_peer_round(Path(folder), config, peers, seed + number))
                bar.advance()
    yield from _speed_rows(measured, config)
    yield from _retrieve_rows(measured, trm, dataset)


def train_speed(
    dataset: Dataset, encoder: CachedEncoder, config: TRMConfig, epochs: int, seed: int
) -> tuple[float, TRM]:
    """Tokens per second of `epochs` epochs behind one that warms up, and the TRM that they made."""
    records: list[dict[str, Any]] = []
    total = _WARM_UP_EPOCHS + epochs
    # Only the encoder's epochs count: no preference branch, one validation user, no early stop.
    changes = {"epochs": total, "patience": total, "preference_steps": 0, "validation_users": 1}
    short = TRMConfig.model_validate(config.model_dump() | changes)
    trm = fit(dataset, encoder, short, seed=seed, log=records.append)
    counted = [record for record in records if "tokens" in record][_WARM_UP_EPOCHS:]
    seconds = sum(float(record["train_seconds"]) for record in counted)
    return sum(int(record["tokens"]) for record in counted) / seconds, trm


def _peer_round(run: Path, config: TRMConfig, peers: Peers, seed: int) -> dict[str, Any]:
    sizes = {
        "--history": config.history, "--width": config.width, "--blocks": config.layers,
        "--heads": HEADS, "--dropout": config.dropout, "--epochs": _WARM_UP_EPOCHS + 1,
        "--seed": seed, "--time-users": _TOGETHER, "--time-calls": _CALLS, "--k": _K,
    }  # fmt: skip
    words = [word for pair in sizes.items() for word in pair]
    return peers.run(SASREC, "--run", run, "--speed-only", *words, threads=torch.get_num_threads())


def _speed_rows(measured: _Measured, config: TRMConfig) -> Iterator[Row]:
    peer, value = f"RecTools SASRec, {HINT}", None
    if measured.peer:
        peer = measured.peer[0]["method"]
        speeds = [_peer_speed(found["curve"][_WARM_UP_EPOCHS:]) for found in measured.peer]
        value = max(speeds)
    sizes = f"width {config.width}, history {config.history}, {config.layers} layers"
    for precision, speeds in measured.speeds.items():
        name = f"training, precision {precision} ({sizes})"
        yield make_row(name, max(speeds), "tokens/s", peer, value)


def _peer_speed(epochs: list[dict[str, float]]) -> float:
    return sum(epoch["tokens"] for epoch in epochs) / sum(epoch["train_seconds"] for epoch in epochs)


def _retrieve_rows(measured: _Measured, trm: TRM, dataset: Dataset) -> Iterator[Row]:
    """Histories in, ids out, for the same users as the peer: items of the history are left out.

    Raises ConfigError where so few items are made up that everybody knows them all.
    """
    n_items = dataset.catalog.n_items
    examples = dataset.fit_histories()[:_TOGETHER]
    histories = [example.history for example in examples if len(set(example.history)) < n_items]
    if not histories:
        raise ConfigError(f"{n_items} items: nobody has one left that could be retrieved; raise --items")
    k = min(_K, n_items - max(len(set(history)) for history in histories))

    def retrieve(row: int) -> object:
        return trm.retrieve(histories[row : row + 1], None, k, histories[row : row + 1])

    together = call_ms(lambda: trm.retrieve(histories, None, k, histories), _CALLS)
    alone = each_ms(retrieve, range(min(_CALLS, len(histories))))
    items = f"{dataset.catalog.n_items:,} items"
    for name, value, key in (
        (f"retrieve, {len(histories)} histories, {items}", together, "together_ms"),
        (f"retrieve, one history, {items}", alone, "alone_ms"),
    ):
        times = [float(found["recommend"][key]) for found in measured.peer]
        peer = "RecTools recommend" if times else f"RecTools recommend, {HINT}"
        yield make_row(name, value, "ms", peer, min(times, default=None))
