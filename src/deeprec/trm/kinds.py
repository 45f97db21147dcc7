"""Retrievers other than our network, by the name that the settings give them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from deeprec.config import TRMConfig
from deeprec.contents import module_file
from deeprec.data.dataset import Dataset
from deeprec.errors import ConfigError
from deeprec.methods import ITEM_KNN, POPULARITY
from deeprec.references import is_reference
from deeprec.trm.base import ExplorableRetriever, Retriever, TextEncoder
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.trm.own import build_own, load_factory
from deeprec.trm.text_steered import TextSteered
from deeprec.trm.vectors import load_vectors

NETWORK = "deeprec"
NETWORKS = (NETWORK, "published-fusion")  # fitted by `training.fit`, saved with their weights
KINDS = (*NETWORKS, POPULARITY, ITEM_KNN, "vectors")


def check_kind(config: TRMConfig) -> None:
    """Raise ConfigError for a `trm.kind` that is neither known nor a `package.module:factory` that can be called."""
    if is_reference(config.kind):
        load_factory(config.kind)
    elif config.kind not in KINDS:
        raise ConfigError(
            f"trm.kind = '{config.kind}': choose {', '.join(KINDS)}, or name a factory as package.module:factory"
        )
    if (config.kind == "vectors") != (config.vectors is not None):
        raise ConfigError(
            f"trm.kind = '{config.kind}', trm.vectors = {config.vectors!r}: "
            "kind 'vectors' needs the folder of the vectors, and no other kind reads one"
        )


def build_retriever(dataset: Dataset, config: TRMConfig, encoder: TextEncoder) -> ExplorableRetriever:
    """The retriever that `trm.kind` names, steered by text unless it reads preferences itself.

    Raises ConfigError for a factory that can't be used, RetrievalError for unusable vectors.
    """
    check_kind(config)
    found: Retriever
    if config.kind == POPULARITY:
        found = Popularity.fit(dataset)
    elif config.kind == ITEM_KNN:
        found = ItemKNN.fit(dataset)
    elif config.kind == "vectors":
        found = load_vectors(Path(config.vectors or ""), dataset)
    else:
        found = build_own(config.kind, dataset, config)
        if isinstance(found, ExplorableRetriever):
            return found
    return TextSteered(found, encoder, dataset.catalog, config.steer, config.preference_instruction)


def source_fingerprint(config: TRMConfig) -> dict[str, Any]:
    """Hashes of the files that the retriever is made from, besides data and settings."""
    files: list[Path] = []
    if config.vectors is not None:
        files = sorted(Path(config.vectors).glob("*.parquet"))
    elif ":" in config.kind:
        own = module_file(config.kind.partition(":")[0])
        files = [] if own is None else [own]
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in files}
