"""One user's interactions, from the history that is known and what they did since."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from deeprec.store.base import Feedback, HistoryEntry


def merge(
    entries: Iterable[HistoryEntry], events: Iterable[Feedback], allow_repeats: bool, timed: bool
) -> list[HistoryEntry]:
    """One user's interactions, oldest first; at equal times the history comes before what was said since.

    A click is an interaction without a rating; a rating is given to the latest interaction
    with its item, or is one itself. Where no repeats are allowed an item that is there is not
    added again. Unless the history is `timed`, all of it comes before what was said since.
    """
    moments: list[tuple[float, HistoryEntry | Feedback]] = []
    moments += [((entry.timestamp or 0.0) if timed else -math.inf, entry) for entry in entries]
    moments += [(event.time, event) for event in events]
    merged: list[HistoryEntry] = []
    latest: dict[str, int] = {}  # item -> position in `merged`
    for _, moment in sorted(moments, key=lambda pair: pair[0]):
        if isinstance(moment, HistoryEntry):
            entry, only_rates = moment, False
        else:
            entry = HistoryEntry(moment.item_id, moment.time, moment.value)
            only_rates = moment.kind == "rating"
        known = latest.get(entry.item_id)
        if known is None or (allow_repeats and not only_rates):
            latest[entry.item_id] = len(merged)
            merged.append(entry)
        elif entry.rating is not None:
            merged[known] = replace(merged[known], rating=entry.rating)
    return merged
