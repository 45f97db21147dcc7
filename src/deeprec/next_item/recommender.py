"""A trained item-token model as a Recommender, with its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeprec.data.dataset import Dataset
from deeprec.disk import read_json
from deeprec.errors import PolicyError, RunError
from deeprec.next_item.beam import BeamSearch
from deeprec.next_item.model import ItemModel, load_model
from deeprec.next_item.trie import Trie
from deeprec.next_item.vocabulary import ItemNames
from deeprec.policy.loading import save_policy
from deeprec.recommender import Recommendation
from deeprec.trm.left import check_size
from deeprec.trm.ranking import check_histories
from deeprec.types import Example

_FACTS, _CODES, _MODEL = "items.json", "codes.safetensors", "model"


class ItemTokensRecommender:
    """Ranks items by the log-probability of their tokens behind those of the history.

    Items that the data set excludes for a user are left out within the search. A list of up
    to `beams` items doesn't depend on how many are asked for; a longer one takes more beams.
    """

    def __init__(
        self, name: str, model: ItemModel, trie: Trie, dataset: Dataset, *, history: int, beams: int
    ) -> None:
        """`history` is how many of the latest items are read."""
        self._name, self.model, self.dataset = name, model, dataset
        self.history, self.beams = history, beams
        self._search = BeamSearch(model, trie, history)

    @property
    def name(self) -> str:
        """Short name used in tables."""
        return self._name

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """The top k of each example, in order; all that are left where those are fewer.

        Raises RetrievalError for an unknown item, or for k beyond the catalogue.
        """
        check_size(k, self.dataset.catalog.n_items)
        if not examples:
            return []
        found = []
        for pairs in self.scored(examples, k):
            ranking = tuple(item for item, _ in pairs[:k])
            written = max(self.beams, k) * self.model.names.levels if self.model.names.levels > 1 else 1
            found.append(Recommendation(ranking, self._name, tokens=written))
        return found

    def scored(self, examples: Sequence[Example], k: int) -> list[list[tuple[int, float]]]:
        """For each example (item, log-probability) of all beams that the search ends with, best first."""
        histories = [example.history for example in examples]
        check_histories(histories, self.dataset.catalog.n_items)
        excluded = [self.dataset.exclusions(example) for example in examples]
        return self._search.search(histories, excluded, max(self.beams, k))

    def explain(self, example: Example) -> str:
        """The tokens that are read, and the beams with their log-probabilities."""
        names, catalog = self.model.names, self.dataset.catalog
        recent = example.history[-self.history :]
        read = self.model.prefix(recent)
        lines = [
            f"Reads {len(read)} tokens: the latest {len(recent)} of {len(example.history)} items, oldest first",
            f"  {self.model.tokenizer.convert_ids_to_tokens(self.model.start)}",
        ]
        lines += [_line(f"  {names.text(item)}", catalog[item].label, names) for item in recent]
        left_out = "items of the history left out" if self.dataset.exclusions(example) else "any item"
        lines.append(f"Writes one of {catalog.n_items} items ({left_out}): log-probability, tokens")
        for place, (item, score) in enumerate(self.scored([example], 1)[0], 1):
            lines.append(_line(f"{place:3}. {score:8.3f}  {names.text(item)}", catalog[item].label, names))
        return "\n".join(lines)

    def save(self, folder: Path) -> None:
        """Write the model in Hugging Face format, the codes and what else a load needs into `folder`."""
        from safetensors.numpy import save_file

        save_policy(self.model.model, self.model.tokenizer, folder / _MODEL)
        names = self.model.names
        save_file({"codes": np.ascontiguousarray(names.codes)}, str(folder / _CODES))
        facts = {
            "catalog": self.dataset.catalog.fingerprint,
            "n_items": self.dataset.catalog.n_items,
            "history": self.history,
            "beams": self.beams,
            "texts": names.texts,
        }
        (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, name: str, folder: Path, dataset: Dataset, device: str = "cpu") -> ItemTokensRecommender:
        """Read what `save` wrote; raises RunError if it is missing, broken, or of another catalogue."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        again = f"fit it again with `deeprec rival fit {name}`"
        try:
            facts: dict[str, Any] = read_json(folder / _FACTS)
            names = ItemNames(
                load_file(str(folder / _CODES))["codes"], tuple(tuple(level) for level in facts["texts"])
            )
            fitted, n_items = facts["catalog"], facts["n_items"]
            history, beams = int(facts["history"]), int(facts["beams"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise RunError(f"{folder}: not readable ({error}); {again}") from None
        if fitted != dataset.catalog.fingerprint:
            raise RunError(
                f"{folder}: {name} was fitted on another catalogue ({n_items} items, {fitted}; here "
                f"{dataset.catalog.n_items} items, {dataset.catalog.fingerprint}); {again}"
            )
        try:
            model = load_model(str(folder / _MODEL), names).to(device)
        except PolicyError as error:
            raise RunError(f"{error}; {again}") from None
        return cls(name, model, Trie(names.codes), dataset, history=history, beams=beams)


def _line(tokens: str, label: str, names: ItemNames) -> str:
    """Tokens, and the title where they don't say it themselves."""
    return tokens if names.levels == 1 else f"{tokens}  {label}"
