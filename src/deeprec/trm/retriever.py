"""TRM: the trained network as a Retriever, with its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deeprec.config import TRMConfig
from deeprec.data.catalog import Catalog
from deeprec.disk import read_json
from deeprec.errors import RetrievalError
from deeprec.trm.base import Histories, Preferences, Retrieval
from deeprec.trm.encoders import load_text_encoder
from deeprec.trm.index import ItemIndex, build_index
from deeprec.trm.item_texts import ItemTexts, catalog_texts
from deeprec.trm.model import HEADS, INNER, PreferenceNetwork
from deeprec.trm.periods import Periods, months_of, read_periods
from deeprec.trm.phrases import split_phrases
from deeprec.trm.published import PUBLISHED, PublishedNetwork
from deeprec.trm.ranking import check_histories, check_preferences
from deeprec.trm.text import CachedEncoder
from deeprec.trm.windows import pad_right

_PERIODS = "periods.safetensors"
_CHUNK = 256  # histories encoded together
_KEPT_STATES = 4096  # of histories, for the next turn or rollout of the same user


class TRM:
    """Preference-aware retriever over one catalogue.

    An empty history is answered by the state that the network learned for "nothing known
    yet", which is a popularity prior, steered by the preference if there is one. Items that
    the fit never met are scored by their text alone.
    """

    def __init__(
        self,
        network: PreferenceNetwork,
        encoder: CachedEncoder,
        catalog: Catalog,
        config: TRMConfig,
        seen: NDArray[np.bool_],
        texts: ItemTexts | None = None,
        periods: Periods | None = None,
    ) -> None:
        """`seen` (n_items + 1,) marks the items that occur in the fit part; `periods` answers months."""
        self.network = network.eval()
        self.encoder = encoder
        self.catalog = catalog
        self.config = config
        self.seen = seen
        self._texts = texts
        self.periods = periods
        self._states: dict[tuple[int, ...], Tensor] = {}  # by history

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return self.catalog.n_items

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.network.encoder.start.device

    def texts(self) -> ItemTexts:
        """The items' text vectors."""
        if self._texts is None:
            self._texts = catalog_texts(self.encoder, self.catalog)
        return self._texts

    def text_vectors(self) -> NDArray[np.float32]:
        """Text embeddings of the items (n_items + 1, D_text), unit rows, row 0 zero."""
        return self.texts().whole

    def item_vectors(self) -> NDArray[np.float32]:
        """Unit-length item vectors (n_items + 1, D), row 0 zero: what history alone ranks by."""
        vectors: NDArray[np.float32] = functional.normalize(self._table, dim=-1).cpu().numpy()
        return vectors

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Inner product of query and item, (B, n_items + 1); column 0 is -inf.

        Raises RetrievalError for an unknown item index or a preference that is too long.
        """
        return self._index.score(self._asked(histories, preferences))

    def retrieve(
        self,
        histories: Histories,
        preferences: Preferences | None = None,
        k: int = 20,
        exclude: Histories | None = None,
    ) -> Retrieval:
        """Top k items per history; see the Retriever contract.

        Exact, or approximate from `index.APPROXIMATE_FROM` items on where faiss is installed.
        """
        return self._index.search(self._asked(histories, preferences), k, exclude)

    def _asked(self, histories: Histories, preferences: Preferences | None) -> NDArray[np.float32]:
        """Checked, encoded in chunks: queries (B, D)."""
        check_histories(histories, self.n_items)
        wanted = check_preferences(preferences, len(histories))
        parts = [
            self.queries(histories[start : start + _CHUNK], wanted[start : start + _CHUNK]).cpu().numpy()
            for start in range(0, max(1, len(histories)), _CHUNK)
        ]
        return np.concatenate(parts)

    @torch.inference_mode()
    def queries(self, histories: Histories, preferences: Preferences | None = None) -> Tensor:
        """Queries (B, D); score = query @ row of `items`."""
        if not len(histories):
            return torch.zeros(0, self._items.shape[1], device=self.device)
        last = self._user_states(histories)
        if preferences is None or not any(preferences):
            queries = self.network.queries(last)
            named: list[list[int]] = [[] for _ in histories]
        else:
            found = [months_of(split_phrases(text)) for text in preferences]
            named, phrases = [months for months, _ in found], [others for _, others in found]
            queries = self.network.queries(last, self._phrase_vectors(phrases) if any(phrases) else None)
        if self.periods is None:
            return queries
        return torch.cat([queries, torch.from_numpy(self.periods.vectors(named)).to(queries)], dim=1)

    def _user_states(self, histories: Histories) -> Tensor:
        """The encoder's output (B, D) at the last item of each history.

        A user asks in several turns and rollouts: each history is encoded once.
        """
        keys = [tuple(items[-self.network.encoder.history :]) for items in histories]
        # A new dict where the old one is full: another thread may be reading that.
        if len(self._states) + len(keys) > _KEPT_STATES:
            self._states = {}
        known = self._states
        new = [key for key in dict.fromkeys(keys) if key not in known]
        if new:
            lengths = torch.tensor([len(key) for key in new], device=self.device)
            states = self.network.encoder.states(self._table, pad_right(new, self.device))
            last = states[torch.arange(len(new), device=self.device), lengths]
            known.update(zip(new, last, strict=True))
        return torch.stack([known[key] for key in keys])

    def forget_histories(self) -> None:
        """Forget the states of histories, so that each is encoded anew."""
        self._states = {}

    def refresh(self) -> None:
        """Forget what was computed from the network's weights: they have changed."""
        self.forget_histories()
        for name in ("_table", "_items", "_index"):
            self.__dict__.pop(name, None)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`, `trm.json` and the encoder's files into an existing folder."""
        from safetensors.torch import save_file

        state = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        save_file(state, str(folder / "model.safetensors"))
        facts = {
            "catalog": self.catalog.fingerprint,
            "n_items": self.n_items,
            "encoder": self.encoder.fingerprint,
            "text_dim": self.encoder.dim,
            "seen": np.flatnonzero(self.seen).tolist(),
            "config": self.config.model_dump(),
        }
        (folder / "trm.json").write_text(json.dumps(facts), encoding="utf-8")
        if self.periods is not None:
            self.periods.save(folder / _PERIODS)
        self.encoder.save(folder)

    @classmethod
    def load(cls, folder: Path, catalog: Catalog, device: str = "cpu") -> TRM:
        """Read a checkpoint; raises RetrievalError if it is missing, broken, or of another catalogue."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        facts = _read_facts(folder)
        if facts["catalog"] != catalog.fingerprint:
            raise RetrievalError(
                f"{folder}: this TRM was fitted on another catalogue ({facts['n_items']} items, "
                f"{facts['catalog']}; here {catalog.n_items} items, {catalog.fingerprint}); fit it again"
            )
        known = {name: value for name, value in facts["config"].items() if name in TRMConfig.model_fields}
        config = TRMConfig.model_validate(
            known
        )  # an earlier version had more settings: those are constants now
        network = build_network(config, catalog.n_items, facts["text_dim"])
        try:
            network.load_state_dict(load_file(str(folder / "model.safetensors")))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise RetrievalError(
                f"{folder / 'model.safetensors'}: not readable ({reason}); fit the TRM again"
            ) from None
        seen = np.zeros(catalog.n_items + 1, dtype=np.bool_)
        seen[facts["seen"]] = True
        periods = read_periods(folder / _PERIODS, catalog.n_items)
        encoder = load_text_encoder(folder, folder / "cache")
        return cls(network.to(device), encoder, catalog, config, seen, periods=periods)

    @cached_property
    @torch.inference_mode()
    def _table(self) -> Tensor:
        text = torch.from_numpy(self.texts().whole).to(self.device)
        keep = torch.from_numpy(self.seen).to(self.device, torch.float32)
        return self.network.encoder.item_table(text, keep)

    @cached_property
    @torch.inference_mode()
    def _items(self) -> Tensor:
        """What is searched (n_items + 1, D)."""
        items = self.network.items(self._table, torch.from_numpy(self.texts().features).to(self.device))
        if self.periods is None:
            return items
        return torch.cat([items, torch.from_numpy(self.periods.lifts).to(items)], dim=1)

    @cached_property
    def _index(self) -> ItemIndex:
        return build_index(self._items.cpu().numpy())

    def _phrase_vectors(self, phrases: Sequence[Sequence[str]]) -> Tensor:
        """Vectors of the preferences' phrases (B, P, D_text), zero rows where there are fewer."""
        vectors = np.zeros(
            (len(phrases), max(len(row) for row in phrases), self.encoder.dim), dtype=np.float32
        )
        texts = [f"{self.config.preference_instruction}{text}" for row in phrases for text in row]
        places = [(row, place) for row, found in enumerate(phrases) for place in range(len(found))]
        vectors[tuple(zip(*places, strict=True))] = self.encoder.encode(texts)
        return torch.from_numpy(vectors).to(self.device)


def build_network(config: TRMConfig, n_items: int, text_dim: int) -> PreferenceNetwork:
    """The network that the settings describe, with random weights.

    Raises RetrievalError where the width can't be divided among the heads.
    """
    if config.width % HEADS:
        raise RetrievalError(
            f"trm.width = {config.width}: must be a multiple of {HEADS}, its attention heads"
        )
    network = PreferenceNetwork(
        n_items=n_items,
        text_dim=text_dim,
        width=config.width,
        layers=config.layers,
        inner=INNER * config.width,
        experts=config.experts,
        dropout=config.dropout,
        history=config.history,
    )
    if config.kind != PUBLISHED:
        return network
    with torch.random.fork_rng(devices=[]):  # the encoder's training draws as it does with our branch
        return PublishedNetwork(network.encoder, text_dim)


def _read_facts(folder: Path) -> dict[str, Any]:
    file = folder / "trm.json"
    if not file.is_file():
        raise RetrievalError(f"{folder}: no fitted TRM here (no trm.json); run `deeprec trm fit`")
    try:
        facts: dict[str, Any] = read_json(file)
    except (OSError, ValueError) as error:
        raise RetrievalError(f"{file}: not readable ({error}); fit the TRM again") from None
    missing = {"catalog", "n_items", "text_dim", "seen", "config"} - facts.keys()
    if missing:
        raise RetrievalError(f"{file}: not readable (no '{min(missing)}'); fit the TRM again")
    return facts
