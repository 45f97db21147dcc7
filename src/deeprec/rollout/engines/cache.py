"""Keys and values of many episodes, each in a row of its own, kept from turn to turn.

Rows grow at their own pace: a row's tokens fill its slots 1, 2, 3, ... without holes,
whatever the others do. Slot 0 is never visible; what has to be fed to fill a rectangle
(padding, rows that are done) is written there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_CHUNK = 128  # slots are added in steps of this


class RowCache(Cache):  # type: ignore[misc]  # transformers ships no types
    """A transformers Cache whose rows can be selected, reordered and extended separately.

    Before each forward pass `begin` says which rows it runs on and which slots its tokens
    take. Storage per layer: (rows, heads, slots, head width).
    """

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._rows = slice(0, 0)
        self._n_rows = 0
        self._width = 0
        self._slots: Tensor = torch.empty(0, dtype=torch.long)
        self._index: Tensor = torch.empty(0, dtype=torch.long)

    def begin(self, n_rows: int, rows: slice, slots: Tensor, width: int) -> None:
        """Announce a pass over `rows` of `n_rows` in all.

        `slots` (rows, tokens) tells where the tokens go, `width` how many slots they may see.
        """
        self._n_rows, self._rows, self._slots, self._width = n_rows, rows, slots, width
        self._index = torch.arange(rows.start, rows.stop, device=slots.device)[:, None]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by each attention layer with (rows, heads, tokens, head width)."""
        while len(self._keys) <= layer_idx:
            self._keys.append(key_states.new_zeros(0))
            self._values.append(value_states.new_zeros(0))
        keys = self._keys[layer_idx] = self._fit(self._keys[layer_idx], key_states)
        values = self._values[layer_idx] = self._fit(self._values[layer_idx], value_states)
        keys[self._index, :, self._slots] = key_states.transpose(1, 2)
        values[self._index, :, self._slots] = value_states.transpose(1, 2)
        return keys[self._rows, :, : self._width], values[self._rows, :, : self._width]

    def _fit(self, storage: Tensor, states: Tensor) -> Tensor:
        """Storage with room for this pass. Zeros, as a masked slot's value is still multiplied by zero."""
        if storage.dim() == 4 and storage.shape[2] >= self._width:
            return storage
        slots = -(-self._width // _CHUNK) * _CHUNK
        grown = states.new_zeros(self._n_rows, states.shape[1], slots, states.shape[3])
        if storage.dim() == 4:
            grown[:, :, : storage.shape[2]] = storage
        return grown

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; one may be taken more than once."""
        self._keys = [keys.index_select(0, rows) for keys in self._keys]
        self._values = [values.index_select(0, rows) for values in self._values]

    def move(self, sources: Tensor, places: Tensor) -> None:
        """Put rows `sources` into `places` (the same set of rows, in another order)."""
        for storage in (*self._keys, *self._values):
            storage[places] = storage[sources]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Slots visible to the running pass, before its own tokens."""
        return max(self._width - self._slots.shape[-1], 0)
