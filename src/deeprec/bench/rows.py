"""A figure beside its peer's: the one record that every benchmark prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure beside its peer's.

    Where the peer could not be measured, `peer` says why and the last two are None.
    """

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float | None
    ratio: float | None  # value / peer_value: above 1 is better for a rate, below 1 for a time


def make_row(name: str, value: float, unit: str, peer: str, peer_value: float | None) -> Row:
    """A row with its ratio; no ratio to a peer that is 0 or missing.

    >>> make_row("fit", 30000.0, "tokens/s", "peer", 10000.0).ratio
    3.0
    """
    ratio = round(value / peer_value, 4) if peer_value else None
    shown = None if peer_value is None else round(peer_value, 5)
    return Row(name, round(value, 5), unit, peer, shown, ratio)
