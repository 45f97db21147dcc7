"""A list made from a pool by a policy's own probabilities, without sampling.

`scores` orders a pool by how likely each title is as the first line of the list; `write` goes line by
line, the likeliest continuation first, among pool titles that are not listed yet. Both give
distinct items of the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog
from deeprec.rollout.codec import Codec
from deeprec.rollout.title_likelihoods import Ids, Likelihoods

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ListWriter:
    """Ranks pools with a causal LM; `contexts` end right behind the tag that opens the list."""

    def __init__(self, model: PreTrainedModel, codec: Codec, catalog: Catalog) -> None:
        self._likelihoods, self._codec, self._catalog = Likelihoods(model), codec, catalog
        self._titles: dict[tuple[int, int], Ids] = {}

    def scores(self, contexts: Sequence[Ids], pools: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
        """Natural-log likelihood of each pool item's title as the first line, one array (pool,) a context.

        The sum over the title's tokens, and over the one that ends the line wherever a title
        is the beginning of another one in its pool.
        """
        rows: list[tuple[Ids, Sequence[Ids]]] = []  # what is given, what is scored
        for context, pool in zip(contexts, pools, strict=True):
            given, rest = _shared([self._title(item) for item in pool]) if pool else ((), [])
            rows.append((context + given, rest))
        return self._likelihoods.behind(rows)

    def write(self, contexts: Sequence[Ids], pools: Sequence[Sequence[int]], size: int) -> list[list[int]]:
        """For each context at most `size` distinct pool items, written greedily line by line."""
        listed: list[list[int]] = [[] for _ in contexts]
        written = [tuple(context) for context in contexts]
        for line in range(1, size + 1):
            left = [
                [item for item in pool if item not in set(mine)]
                for pool, mine in zip(pools, listed, strict=True)
            ]
            # A small pool ends its list early; the others go on without it.
            writing = [row for row, items in enumerate(left) if items]
            if not writing:
                break
            chosen = self._line([written[row] for row in writing], [left[row] for row in writing], line)
            for row, item in zip(writing, chosen, strict=True):
                listed[row].append(item)
                written[row] += tuple(self._codec.encode(f"\n{line}. {self._catalog[item].label}"))
        return listed

    def _line(self, contexts: Sequence[Ids], pools: Sequence[Sequence[int]], line: int) -> list[int]:
        """The item whose title greedy decoding writes on this line, among those of each pool."""
        tries = [{self._title(item, line): item for item in pool} for pool in pools]
        paths: list[Ids] = [() for _ in contexts]
        while open_rows := [row for row, path in enumerate(paths) if path not in tries[row]]:
            # Where the pool leaves one way to go on, nothing has to be computed.
            steps = {row: {ids[len(paths[row])] for ids in tries[row] if ids[: len(paths[row])] == paths[row]}
                     for row in open_rows}  # fmt: skip
            asked = [row for row in open_rows if len(steps[row]) > 1]
            logits = self._likelihoods.last_logits([contexts[row] + paths[row] for row in asked])
            for row in open_rows:
                allowed = sorted(steps[row])
                best = allowed[0]
                if len(allowed) > 1:
                    best = allowed[int(logits[asked.index(row)][allowed].argmax())]
                paths[row] = (*paths[row], best)
        return [tries[row][path] for row, path in enumerate(paths)]

    def _title(self, item: int, line: int = 1) -> Ids:
        """Ids of the line with this title, up to the token that holds the next line break."""
        found = self._titles.get((item, line))
        if found is None:
            text = f"\n{line}. {self._catalog[item].label}\n"
            ids = self._codec.encode(f"{text}{line + 1}. ")
            # Only as far as needed: what follows the break belongs to the next line.
            end = next(n for n in range(1, len(ids) + 1) if self._codec.decode(ids[:n]).startswith(text))
            found = self._titles[item, line] = tuple(ids[:end])
        return found


def _shared(titles: Sequence[Ids]) -> tuple[Ids, list[Ids]]:
    """What all titles begin with, and the rest of each; without the last token if that still tells all apart."""
    cut = [ids[:-1] for ids in titles]
    known = set(cut)
    nested = any(ids[:end] in known for ids in cut for end in range(1, len(ids)))
    chosen = list(titles) if nested or len(known) < len(cut) else cut
    shortest = min(len(ids) for ids in chosen)
    common = 0
    while common < shortest - 1 and len({ids[common] for ids in chosen}) == 1:
        common += 1
    return chosen[0][:common], [ids[common:] for ids in chosen]
