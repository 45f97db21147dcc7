"""What a preference does to a run's TRM, beside two other ways to use one, as tables.

Ways, all on the run's own encoder, on the same users and the same questions:

- `deeprec`: the preference branch as fitted.
- `mean, trained`: the published fusion, query = mean of the user state and an adaptor (8 linear
  experts) of the text; the adaptor trained by the same questions as the branch.
- `mean, untrained`: the same with the encoder's own text adaptor, which shares its space.
- `filter`: items that bear every phrase asked for come first, each part in the plain order.

`unseen` phrases are a quarter of all phrases, drawn by the seed; a branch is trained that never
hears them, and is asked for nothing else. `paraphrase` asks for a genre in other words.

    deeprec data prepare ml-100k --source ml-100k.zip --run runs/ml-100k
    deeprec trm fit --run runs/ml-100k
    python benchmarks/trm_steering.py --run runs/ml-100k --results results/tables
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeprec.config import RunConfig
from deeprec.data.dataset import Dataset
from deeprec.data.stage import load_data
from deeprec.evaluation.results import fit_commands
from deeprec.evaluation.tables import Cell, FigureTable, render_table, write_table
from deeprec.run import Run, environment
from deeprec.trm.base import Histories, Preferences
from deeprec.trm.model import PreferenceNetwork
from deeprec.trm.phrases import item_phrases, split_phrases
from deeprec.trm.published import PublishedNetwork
from deeprec.trm.quality import Pool, examples_of, pool_table, preference_kinds, quality, steering
from deeprec.trm.ranking import catalogue_ranks
from deeprec.trm.retriever import TRM
from deeprec.trm.stage import load_trm
from deeprec.trm.training import fit_preferences
from deeprec.types import Example

PARAPHRASES = {  # MovieLens genres in words that its catalogue does not use for them
    "Action": "fights, chases and explosions",
    "Animation": "a cartoon",
    "Children's": "for the kids",
    "Comedy": "funny, makes me laugh",
    "Crime": "gangsters and robberies",
    "Documentary": "non-fiction about real events",
    "Fantasy": "magic, wizards and dragons",
    "Film-Noir": "dark old black-and-white detective film",
    "Horror": "scary, frightening",
    "Musical": "people sing and dance",
    "Mystery": "a whodunit puzzle",
    "Romance": "a love story",
    "Sci-Fi": "outer space and future technology",
    "Thriller": "suspenseful and tense",
    "War": "soldiers in battle",
    "Western": "cowboys and gunslingers",
}


class Filter:
    """Items that bear every phrase asked for come first, each part in the plain order.

    A phrase that no item bears asks for nothing.
    """

    def __init__(self, trm: TRM) -> None:
        self.trm = trm
        self.n_items = trm.n_items
        self._bears: dict[str, NDArray[np.bool_]] = {}
        for item in trm.catalog.items:
            for phrase in item_phrases(item):
                self._bears.setdefault(phrase, np.zeros(trm.n_items + 1, np.bool_))[item.item_index] = True

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Plain scores, raised above all others where the item fits."""
        scores = self.trm.score(histories)
        for row, text in enumerate(preferences or ()):
            known = [self._bears[phrase] for phrase in split_phrases(text) if phrase in self._bears]
            if known:
                scores[row, np.logical_and.reduce(known)] += 2 * np.abs(scores[row, 1:]).max()
        return scores

    def retrieve(self, histories, preferences=None, k=20, exclude=None):  # type: ignore[no-untyped-def]
        """See the Retriever contract."""
        from deeprec.trm.ranking import top_items

        return top_items(self.score(histories, preferences), k, exclude)

    def item_vectors(self) -> None:
        """None."""
        return


def ways(trm: TRM, dataset: Dataset, seed: int) -> dict[str, TRM | Filter]:
    """The four ways by name, each on the same encoder."""
    trained, untrained = (
        _with_network(trm, PublishedNetwork(deepcopy(trm.network.encoder), trm.encoder.dim, adaptor))
        for adaptor in (None, deepcopy(trm.network.encoder.text_adaptor))
    )
    fit_preferences(trained, dataset, seed)
    return {"deeprec": trm, "mean, trained": trained, "mean, untrained": untrained, "filter": Filter(trm)}


def _with_network(trm: TRM, network: PreferenceNetwork) -> TRM:
    return TRM(network, trm.encoder, trm.catalog, trm.config, trm.seen, trm.texts())


def held_out_phrases(dataset: Dataset, seed: int) -> list[str]:
    """A quarter of all phrases."""
    phrases = sorted({phrase for item in dataset.catalog.items for phrase in item_phrases(item)})
    rng = np.random.default_rng(seed)
    return [phrases[place] for place in np.sort(rng.permutation(len(phrases))[: len(phrases) // 4])]


def unseen_questions(
    dataset: Dataset, examples: Sequence[Example], hidden: Sequence[str], seed: int
) -> tuple[list[Example], list[str]]:
    """Examples whose target bears a hidden phrase, and one such phrase each."""
    rng = np.random.default_rng(seed)
    found, asked = [], []
    for example in examples:
        phrases = [text for text in item_phrases(dataset.catalog[example.target]) if text in set(hidden)]
        if phrases:
            found.append(example)
            asked.append(phrases[int(rng.integers(len(phrases)))])
    return found, asked


def paraphrase_questions(
    dataset: Dataset, examples: Sequence[Example], seed: int
) -> tuple[list[Example], list[str]]:
    """Examples whose target bears a genre that has a paraphrase, and one paraphrase each."""
    found, asked = unseen_questions(dataset, examples, list(PARAPHRASES), seed)
    return found, [PARAPHRASES[phrase] for phrase in asked]


def steering_rows(
    found: dict[str, TRM | Filter], dataset: Dataset, examples: list[Example], seed: int
) -> list[tuple[Cell, ...]]:
    """One row a way and kind of preference: NDCG@10, its ratio to the plain one, median rank."""
    rows: list[tuple[Cell, ...]] = []
    plain = quality("", catalogue_ranks(found["deeprec"], examples, dataset=dataset))
    rows.append(("none", "all", len(examples), plain.ndcg_at_10, 1.0, plain.median_rank, plain.median_rank))
    for kind, preferences in preference_kinds(dataset, examples, seed).items():
        for name, way in found.items() if kind else ():
            rows.append(_row(kind, name, way, dataset, examples, preferences))
    return rows


def _row(
    kind: str,
    name: str,
    way: TRM | Filter,
    dataset: Dataset,
    examples: list[Example],
    asked: list[str] | None,
) -> tuple[Cell, ...]:
    plain = quality("", catalogue_ranks(way, examples, dataset=dataset))
    steered = quality("", catalogue_ranks(way, examples, asked, dataset=dataset))
    ratio = steered.ndcg_at_10 / plain.ndcg_at_10
    return kind, name, len(examples), steered.ndcg_at_10, ratio, steered.median_rank, plain.median_rank


def unseen_rows(trm: TRM, dataset: Dataset, examples: list[Example], seed: int) -> list[tuple[Cell, ...]]:
    """Unseen phrases, by a branch that never heard them and by the fitted one; paraphrases likewise."""
    hidden = held_out_phrases(dataset, seed)
    deaf = _with_network(trm, deepcopy(trm.network))
    fit_preferences(deaf, dataset, seed, hidden)
    questions, asked = unseen_questions(dataset, examples, hidden, seed)
    rows = [
        _row("true phrase, unseen in training", "deeprec", deaf, dataset, questions, asked),
        _row("the same, seen in training", "deeprec", trm, dataset, questions, asked),
    ]
    questions, asked = paraphrase_questions(dataset, examples, seed)
    if questions:
        rows.append(_row("paraphrase of a genre", "deeprec", trm, dataset, questions, asked))
    return rows


def tables(run: Run, part: str) -> list[FigureTable]:
    """Preferences, lists, and pools of one run's TRM."""
    dataset = load_data(run)
    trm, seed = load_trm(run, dataset), run.config.seed
    examples = [example for example in examples_of(dataset, part) if example.history]
    found = ways(trm, dataset, seed)
    asked = steering_rows(found, dataset, examples, seed) + unseen_rows(trm, dataset, examples, seed)
    lists = [
        (name, measured.overlap, measured.fit, measured.fit_plain)
        for name, measured in (
            (name, steering(way, dataset, examples, 20, seed)) for name, way in found.items()
        )
    ]
    pools = {name: pool_table(way, dataset, examples, 20, seed) for name, way in found.items()}
    columns = ("preference", "way", "users", "NDCG@10", "x plain", "median rank", "plain median rank")
    return [
        _table(run, dataset, part, "What a preference does", columns, asked, _PREFERENCES),
        _table(run, dataset, part, "How lists follow the text", _LISTS, lists, _LISTS_NOTE),
        _table(
            run, dataset, part, "What several retrievals can find", _POOLS, _pool_rows(pools), _POOLS_NOTE
        ),
    ]


_PREFERENCES = (
    "A true phrase is told about the target, a wrong one about another user's: oracles, which bound what a "
    "preference can do and cost. Unknown words and small talk say nothing about any item."
)
_LISTS = ("way", "overlap of two top 20", "share that bears the phrase", "the same in the plain top 20")
_LISTS_NOTE = "Two different single phrases of random catalogue items for each user."
_POOLS = ("way", "retrievals", "plain", "oracle", "plain, then oracle", "from the history", "random")
_POOLS_NOTE = (
    "Recall of the union of so many retrievals of 20, each without what came before; plain is the TRM's plain top "
    "20, 40, 60, 80. Oracle: each time another phrase of the target (no phrase once it has no more); from the history: "
    "one or two phrases of a random item of the history; random: those of a random catalogue item."
)


def _pool_rows(pools: dict[str, list[Pool]]) -> list[tuple[Cell, ...]]:
    return [
        (name, f"{p.turns} x {p.k}", p.plain, p.oracle, p.plain_then_oracle, p.from_history, p.random)
        for name, found in pools.items()
        for p in found
    ]


def _table(
    run: Run,
    dataset: Dataset,
    part: str,
    title: str,
    columns: tuple[str, ...],
    rows: list[tuple[Cell, ...]],
    note: str,
) -> FigureTable:
    here, config = environment(), run.config
    rounded = tuple(tuple(round(v, 4) if isinstance(v, float) else v for v in row) for row in rows)
    return FigureTable(
        dataset=dataset.name,
        title=f"{title} ({_encoder_name(config)})",
        note=note,
        part=part,
        targets=dataset.targets_hash(part),
        users=len(dataset.examples(part)),
        seed=config.seed,
        columns=columns,
        rows=rounded,
        command=f"{fit_commands(config)}\npython benchmarks/trm_steering.py --part {part}",
        machine=here["machine"],
        commit=here["commit"],
        versions=here["versions"],
    )


def _encoder_name(config: RunConfig) -> str:
    return f"text encoder {Path(config.trm.text_encoder).name}"


def main() -> None:
    """Print the tables, and write them where `--results` says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/default"), help="a run whose TRM is fitted")
    parser.add_argument("--part", choices=["validation", "test", "rl"], default="test")
    parser.add_argument("--results", type=Path, help="folder for the tables as JSON")
    options = parser.parse_args()
    run = Run.open(options.run)
    for number, table in enumerate(tables(run, options.part), 1):
        print(render_table(table))
        if options.results:
            encoder = Path(run.config.trm.text_encoder).name
            write_table(options.results / f"{table.dataset}-{encoder}-{number}.json", table)


if __name__ == "__main__":
    main()
