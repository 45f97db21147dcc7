"""The two rivals with item tokens, as the registry knows them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeprec import methods
from deeprec.contents import model_files, present
from deeprec.data.dataset import Dataset
from deeprec.errors import ConfigError
from deeprec.inputs import constants_of
from deeprec.rivals.registry import Rival
from deeprec.run import Run, fingerprint
from deeprec.stages import RIVAL
from deeprec.trm.base import ExplorableRetriever

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deeprec.next_item.recommender import ItemTokensRecommender
    from deeprec.next_item.vocabulary import ItemNames

TITLES, CODES = methods.TITLE_TOKENS, methods.SEMANTIC_IDS


def _others(name: str, run: Run) -> dict[str, Any]:
    from deeprec.next_item import model, training, vocabulary
    from deeprec.rivals.item_tokens import quantisation, rqvae

    quantised = (quantisation, rqvae) if name == CODES else ()
    return {
        "constants": constants_of(model, training, vocabulary, *quantised),
        **present(files_of_the_model=model_files(run.config.rivals.item_tokens.model)),
    }


def _fit(name: str, run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> dict[str, Any]:
    import torch

    from deeprec.next_item.model import ItemModel, build_model
    from deeprec.next_item.recommender import ItemTokensRecommender
    from deeprec.next_item.training import fit_items
    from deeprec.next_item.trie import Trie
    from deeprec.trm.resuming import FitLog
    from deeprec.trm.stage import fit_checkpoint

    config, seed = run.config.rivals.item_tokens, run.config.seed
    if name == CODES:
        config = config.model_copy(update={"history": config.code_history})
    names, facts = _names(name, run, dataset, trm)
    trie = Trie(names.codes)

    def recommender(model: ItemModel) -> ItemTokensRecommender:
        return ItemTokensRecommender(name, model, trie, dataset, history=config.history, beams=config.beams)

    checkpoint = fit_checkpoint(
        run.rival(name), fingerprint(name, dataset.fingerprint, config.model_dump(), seed)
    )
    log = FitLog(run, RIVAL + name, checkpoint)
    model = build_model(config, names, dataset.catalog, seed)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    fit_items(
        model,
        dataset,
        config,
        recommender,
        seed=seed,
        log=log,
        precision=run.config.trm.precision,
        checkpoint=checkpoint,
    )
    recommender(model).save(folder)
    facts["parameters"] = sum(weight.numel() for weight in model.model.parameters())
    return facts | {key: log.best[key] for key in ("epoch", "ndcg", "recall") if key in log.best}


def _names(
    name: str, run: Run, dataset: Dataset, trm: ExplorableRetriever
) -> tuple[ItemNames, dict[str, Any]]:
    from deeprec.next_item.vocabulary import code_names, title_names
    from deeprec.rivals.item_tokens.quantisation import semantic_ids

    if name == TITLES:
        return title_names(dataset.catalog), {}
    kind, vectors = _vectors(run, trm)
    codes, facts = semantic_ids(vectors, run.config.rivals.item_tokens, run.config.seed)
    return code_names(codes), {"vectors": kind, **facts}


def _vectors(run: Run, trm: ExplorableRetriever) -> tuple[str, NDArray[np.float32]]:
    """What is quantised, by its name in the settings, and the vectors (n_items + 1, D)."""
    wanted = run.config.rivals.item_tokens.vectors
    vectors = None if wanted == "text" else trm.item_vectors()
    if vectors is not None:
        return "trm", vectors
    if wanted == "trm":
        raise ConfigError(
            'rivals.item_tokens.vectors = "trm": this TRM has no item vectors; set it to "text"'
        )
    return "text", trm.text_vectors()


def _load(
    name: str, run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path
) -> ItemTokensRecommender:
    import torch

    from deeprec.next_item.recommender import ItemTokensRecommender

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return ItemTokensRecommender.load(name, folder, dataset, device)


def _check(name: str, run: Run, dataset: Dataset, trm: ExplorableRetriever) -> None:
    if name == CODES:
        _vectors(run, trm)


def _rival(name: str, summary: str) -> Rival:
    return Rival(
        summary,
        partial(_others, name),
        partial(_fit, name),
        partial(_load, name),
        check=partial(_check, name),
    )


TITLE_TOKENS = _rival(TITLES, "A language model over one token a title, trained on histories.")
SEMANTIC_IDS = _rival(CODES, "A language model over semantic ids of several codes (TIGER), by beam search.")
