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

_CHUNK = 128  # slots come in steps of this
_KEPT_BYTES = 1 << 28  # storage up to this size outlives `clear` in main memory


class RowCache(Cache):  # type: ignore[misc]  # transformers ships no types
    """A transformers Cache whose rows can be selected, reordered and extended separately.

    Before each forward pass `begin` says which rows it runs on and which slots its tokens
    take. Storage per layer: (rows, heads, slots, head width), where the first `n_rows` rows
    are in use.
    """

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._rows = slice(0, 0)
        self._n_rows = 0
        self._width = 0
        self._widest = 0  # slots that any row may have filled
        self._slots: Tensor = torch.empty(0, dtype=torch.long)
        self._places: dict[tuple[int, int], Tensor] = {}

    def begin(self, n_rows: int, rows: slice, slots: Tensor, width: int) -> None:
        """Announce a pass over `rows` of `n_rows` in all.

        `slots` (rows, tokens) tells where the tokens go, `width` how many slots they may see.
        """
        self._n_rows, self._rows, self._slots, self._width = n_rows, rows, slots, width
        self._widest = max(self._widest, width)
        self._places = {}  # by the shape of a layer's storage: most layers share one

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by each attention layer with (rows, heads, tokens, head width)."""
        while len(self._keys) <= layer_idx:
            self._keys.append(key_states.new_zeros(0))
            self._values.append(value_states.new_zeros(0))
        keys = self._keys[layer_idx] = self._fit(self._keys[layer_idx], key_states)
        values = self._values[layer_idx] = self._fit(self._values[layer_idx], value_states)
        return self._write(keys, key_states), self._write(values, value_states)

    def _write(self, storage: Tensor, states: Tensor) -> Tensor:
        """Put the states into their slots; the part of the storage that they may see."""
        # One flat index serves all layers: copying whole vectors by it costs a third of
        # what indexing by row and slot does.
        places = self._places_in(storage)
        storage.view(-1, storage.shape[3]).index_copy_(0, places, states.reshape(-1, storage.shape[3]))
        return storage[self._rows, :, : self._width]

    def _places_in(self, storage: Tensor) -> Tensor:
        """Where the tokens of this pass lie in storage seen as (rows * heads * slots, head width)."""
        heads, slots = storage.shape[1:3]
        if (heads, slots) not in self._places:
            device = self._slots.device
            rows = torch.arange(self._rows.start, self._rows.stop, device=device)[:, None, None]
            firsts = (rows * heads + torch.arange(heads, device=device)[:, None]) * slots
            self._places[heads, slots] = (firsts + self._slots[:, None]).flatten()
        return self._places[heads, slots]

    def _fit(self, storage: Tensor, states: Tensor) -> Tensor:
        """Storage with room for this pass. Zeros, as a masked slot's value is still multiplied by zero."""
        rows, slots = (storage.shape[0], storage.shape[2]) if storage.dim() == 4 else (0, 0)
        if rows >= self._n_rows and slots >= self._width:
            return storage
        if slots < self._width:  # by half at least, so that copying stays rare
            slots = -(-max(self._width, slots + slots // 2) // _CHUNK) * _CHUNK
        grown = states.new_zeros(max(rows, self._n_rows), states.shape[1], slots, states.shape[3])
        if rows:
            grown[:rows, :, : storage.shape[2]] = storage
        return grown

    def copy(self, sources: Tensor, places: Tensor) -> None:
        """Overwrite rows `places` by rows `sources`, as these were before; it makes room where there is none."""
        needed = int(places.max()) + 1 if len(places) else 0
        for stored in (self._keys, self._values):
            for layer, storage in enumerate(stored):
                if needed > len(storage):
                    grown = storage.new_zeros(needed, *storage.shape[1:])
                    grown[: len(storage)] = storage
                    storage = stored[layer] = grown
                storage[places, :, : self._widest] = storage[sources, :, : self._widest]

    @torch.inference_mode()  # what a pass wrote can be changed in this mode alone
    def clear(self) -> None:
        """Forget every row.

        Storage of modest size is kept in main memory: there, fresh pages cost more than
        zeroing old ones. A GPU's memory is given back, for training needs it.
        """
        stored = [*self._keys, *self._values]
        size = sum(storage.numel() * storage.element_size() for storage in stored)
        if size > _KEPT_BYTES or any(storage.device.type != "cpu" for storage in stored):
            self._keys, self._values = [], []
        elif self._widest:
            for storage in stored:
                storage[:, :, : self._widest] = 0.0
        self._widest = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Slots visible to the running pass, before its own tokens."""
        return max(self._width - self._slots.shape[-1], 0)
