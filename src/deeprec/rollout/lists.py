"""The final list, made from the pool by the policy's own probabilities.

Ways besides letting the policy write (`generate`): `score` orders the pool by how
likely each title is as the first line of the list; `constrained` writes line by line, the
likeliest continuation first, among pool titles that are not listed yet; `reranked` asks how
likely each title is to come next in the bare history. All give distinct items of the pool.
The model runs in this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.data.catalog import Catalog
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.limits import portions
from deeprec.rollout.likelihood import logits_of
from deeprec.rollout.titles import TitleTexts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PASS_TOKENS = 16_384  # tokens in one forward pass, padding included: bounds memory
Ids = tuple[int, ...]


class ListWriter:
    """Ranks pools with a causal LM; `contexts` end right behind the tag that opens the list.

    `reader` is asked for next titles in its place: another model with the same tokenizer.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        codec: Codec,
        catalog: Catalog,
        reader: ListWriter | None = None,
    ) -> None:
        self._model, self._codec, self._catalog = model, codec, catalog
        self._titles: dict[tuple[int, int], Ids] = {}
        self._histories = TitleTexts(codec, catalog)
        self._reader = reader or self

    def to(self, device: torch.device | str) -> None:
        """Move the model."""
        self._model.to(device)

    def scores(self, contexts: Sequence[Ids], pools: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
        """Natural-log likelihood of each pool item's title as the first line, one array (pool,) a context.

        The sum over the title's tokens, and over the one that ends the line wherever a title
        is the beginning of another one in its pool.
        """
        rows: list[tuple[Ids, Ids]] = []  # what is given, what is scored
        for context, pool in zip(contexts, pools, strict=True):
            if not pool:
                continue
            given, rest = _shared([self._title(item) for item in pool])
            rows += [(context + given, ids) for ids in rest]
        return self._by_pool(rows, pools)

    def next_titles(
        self, histories: Sequence[Sequence[int]], pools: Sequence[Sequence[int]]
    ) -> list[NDArray[np.float64]]:
        """Natural-log likelihood of each pool item's title right after the history's, one array (pool,) a history.

        The histories are items, oldest first, read as `TitleTexts` writes them, and nothing else of a prompt.
        """
        rows: list[tuple[Ids, Ids]] = []
        for history, pool in zip(histories, pools, strict=True):
            context = self._histories.context(history)
            rows += [(context, self._histories.title(item)) for item in pool]
        return self._reader._by_pool(rows, pools)

    def _by_pool(
        self, rows: Sequence[tuple[Ids, Ids]], pools: Sequence[Sequence[int]]
    ) -> list[NDArray[np.float64]]:
        values = np.asarray(self._likelihoods(rows), dtype=np.float64)
        return list(np.split(values, np.cumsum([len(pool) for pool in pools])[:-1]))

    def write(self, contexts: Sequence[Ids], pools: Sequence[Sequence[int]], size: int) -> list[list[int]]:
        """For each context at most `size` distinct pool items, written greedily line by line."""
        listed: list[list[int]] = [[] for _ in contexts]
        written = [tuple(context) for context in contexts]
        for line in range(1, size + 1):
            left = [
                [item for item in pool if item not in set(mine)]
                for pool, mine in zip(pools, listed, strict=True)
            ]
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
            logits = self._last_logits([contexts[row] + paths[row] for row in asked])
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

    def _likelihoods(self, rows: Sequence[tuple[Ids, Ids]]) -> list[float]:
        """Sum of log-probabilities of the second part of each row after the first."""
        found = [0.0] * len(rows)
        by_context: dict[Ids, list[int]] = {}
        for place, (given, scored) in enumerate(rows):
            if len(scored) == 1:
                by_context.setdefault(given, []).append(place)
        contexts = list(by_context)
        # Titles that are one token need no pass of their own: one distribution tells them all.
        for context, logits in zip(contexts, self._last_logits(contexts), strict=True):
            logs = torch.log_softmax(logits.float(), dim=-1)
            for place in by_context[context]:
                found[place] = float(logs[rows[place][1][0]])
        longer = [place for place, (_, scored) in enumerate(rows) if len(scored) > 1]
        for part in portions([len(rows[place][0]) + len(rows[place][1]) for place in longer], _PASS_TOKENS):
            places = longer[part]
            ids, seen, wanted = self._rectangle([rows[place][0] + rows[place][1] for place in places])
            for row, place in enumerate(places):
                total = len(rows[place][0]) + len(rows[place][1])
                wanted[row, total - len(rows[place][1]) : total] = 1
            with torch.inference_mode():
                logs = torch.log_softmax(logits_of(self._model, ids, seen, wanted).float(), dim=-1)
            taken = logs.gather(1, ids[wanted.bool()][:, None])[:, 0]
            bounds = np.cumsum([len(rows[place][1]) for place in places])[:-1]
            for place, values in zip(places, np.split(taken.double().cpu().numpy(), bounds), strict=True):
                found[place] = float(values.sum())
        return found

    def _last_logits(self, contexts: Sequence[Ids]) -> list[Tensor]:
        """Logits (V,) after the last token of each context."""
        order = sorted(range(len(contexts)), key=lambda place: len(contexts[place]))
        found: dict[int, Tensor] = {}
        for part in portions([len(contexts[place]) for place in order], _PASS_TOKENS):
            places = order[part]
            # One more column: `logits_of` gives what predicts a token, here one that isn't there yet.
            ids, seen, wanted = self._rectangle([(*contexts[place], 0) for place in places])
            for row, place in enumerate(places):
                wanted[row, len(contexts[place])] = 1
            with torch.inference_mode():
                logits = logits_of(self._model, ids, seen, wanted)
            found.update(zip(places, logits, strict=True))
        return [found[place] for place in range(len(contexts))]

    def _rectangle(self, rows: Sequence[Ids]) -> tuple[Tensor, Tensor, Tensor]:
        """Right-padded ids, attention mask and an empty mask, each (B, T)."""
        width = max(len(row) for row in rows)
        options: dict[str, Any] = {"dtype": torch.long, "device": self._model.device}
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], **options)
        # Padding stands behind, where causal attention never looks.
        return ids, torch.ones_like(ids), torch.zeros_like(ids)


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
