"""Your own TRM: item-kNN, steered by how well an item's text fits the preference.

`python examples/own_trm.py [FOLDER]` warm-starts a tiny policy against it, trains a few steps
of stage 1, and recommends for one user. See docs/howto/own-trm.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeprec import Dataset, Recommendation, Retrieval, Run, build_deeprec, load_config
from deeprec.data.stage import run_data
from deeprec.rl.stage import run_rl
from deeprec.rl.warm_start import run_warm_start
from deeprec.trm.base import Histories, Preferences, TextEncoder
from deeprec.trm.baselines import ItemKNN
from deeprec.trm.ranking import check_preferences, top_items
from deeprec.trm.retriever import catalog_text_vectors
from deeprec.trm.text import build_text_encoder


class SteeredKNN:
    """Neighbours of the history; a preference moves items that fit its words up."""

    def __init__(self, neighbours: ItemKNN, encoder: TextEncoder, text: NDArray[np.float32]) -> None:
        """`text` (n_items + 1, D) are the items' text vectors, unit rows, row 0 zero."""
        self._neighbours = neighbours
        self._text = text
        self.encoder = encoder  # rewards measure the diversity of preferences with it

    @classmethod
    def fit(cls, dataset: Dataset, run: Run) -> SteeredKNN:
        """Neighbours from the fit part; the text encoder that the settings name."""
        encoder = build_text_encoder(run.config.trm, dataset.catalog, run.config.seed)
        return cls(ItemKNN.fit(dataset), encoder, catalog_text_vectors(encoder, dataset.catalog))

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self._text) - 1

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Neighbours' scores scaled to at most 1, plus the cosine with the preference."""
        scores = self._neighbours.score(histories)
        scores[:, 1:] /= np.maximum(scores[:, 1:].max(axis=1, keepdims=True), 1e-9)
        wanted = check_preferences(preferences, len(histories))  # blank ones become None
        steered = [row for row, text in enumerate(wanted) if text is not None]
        if steered:
            vectors = self.encoder.encode([wanted[row] or "" for row in steered])  # (S, D)
            scores[steered] += vectors @ self._text.T
        scores[:, 0] = -np.inf
        return scores

    def retrieve(
        self,
        histories: Histories,
        preferences: Preferences | None = None,
        k: int = 20,
        exclude: Histories | None = None,
    ) -> Retrieval:
        """Top k items per history, best first, ties by index."""
        return top_items(self.score(histories, preferences), k, exclude)

    def text_vectors(self) -> NDArray[np.float32]:
        """What the similarity reward compares items by."""
        return self._text

    def item_vectors(self) -> None:
        """None: kNN has no item vectors, so that reward looks at text alone."""
        return


def main(folder: Path, overrides: Sequence[str] = ()) -> Recommendation:
    """Data, our TRM, warm start, a little of stage 1, and one recommendation."""
    run = Run.create(folder, load_config("ci", overrides=["data.name=synthetic", *overrides]))
    dataset = run_data(run)
    trm = SteeredKNN.fit(dataset, run)
    # The run only needs to know that the stage is done, and from what: change the text when your TRM changes.
    run.finish("trm", f"steered kNN on {dataset.fingerprint}", minutes=0.0)
    run_warm_start(run, dataset, trm)
    run_rl(run, dataset, trm, "cold_start")
    deeprec = build_deeprec(run, dataset, trm, fill_in=True)
    found = deeprec.recommend([dataset.known_history(dataset.user_ids[0])])[0]
    for turn in found.trajectory.turns if found.trajectory else ():
        print(f"asked for: {turn.preference}")
    for number, item in enumerate(found.ranking, 1):
        print(f"{number:3}. {dataset.catalog[item].label}")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-trm"))
