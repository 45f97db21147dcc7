"""DeepRec: a language model explores the catalogue with a recommendation model, then ranks.

Public names are loaded on first use, so that importing the package loads no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeprec.config import RunConfig, load_config
    from deeprec.data.catalog import Catalog
    from deeprec.data.dataset import Dataset
    from deeprec.errors import (
        ConfigError,
        DataError,
        DeepRecError,
        DownloadError,
        EngineError,
        EvaluationError,
        MissingExtraError,
        PolicyError,
        RetrievalError,
        RewardError,
        RunError,
        StoreError,
        StoreUnavailable,
        TrainingError,
    )
    from deeprec.pipeline import build_deeprec, build_recommenders, load_stages, run_pipeline
    from deeprec.recommender import Recommendation, Recommender
    from deeprec.run import Run
    from deeprec.trm.base import ExplorableRetriever, Retrieval, Retriever, TextEncoder
    from deeprec.types import Example, Item, StopReason, Trajectory, Turn

_HOMES = {
    "deeprec.config": ("RunConfig", "load_config"),
    "deeprec.data.catalog": ("Catalog",),
    "deeprec.data.dataset": ("Dataset",),
    "deeprec.errors": (
        "ConfigError",
        "DataError",
        "DeepRecError",
        "DownloadError",
        "EngineError",
        "EvaluationError",
        "MissingExtraError",
        "PolicyError",
        "RetrievalError",
        "RewardError",
        "RunError",
        "StoreError",
        "StoreUnavailable",
        "TrainingError",
    ),
    "deeprec.pipeline": ("build_deeprec", "build_recommenders", "load_stages", "run_pipeline"),
    "deeprec.recommender": ("Recommendation", "Recommender"),
    "deeprec.run": ("Run",),
    "deeprec.trm.base": ("ExplorableRetriever", "Retrieval", "Retriever", "TextEncoder"),
    "deeprec.types": ("Example", "Item", "StopReason", "Trajectory", "Turn"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Catalog",
    "ConfigError",
    "DataError",
    "Dataset",
    "DeepRecError",
    "DownloadError",
    "EngineError",
    "EvaluationError",
    "Example",
    "ExplorableRetriever",
    "Item",
    "MissingExtraError",
    "PolicyError",
    "Recommendation",
    "Recommender",
    "Retrieval",
    "RetrievalError",
    "Retriever",
    "RewardError",
    "Run",
    "RunConfig",
    "RunError",
    "StopReason",
    "StoreError",
    "StoreUnavailable",
    "TextEncoder",
    "TrainingError",
    "Trajectory",
    "Turn",
    "__version__",
    "build_deeprec",
    "build_recommenders",
    "load_config",
    "load_stages",
    "run_pipeline",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from deeprec.distribution import installed_version

        value: Any = installed_version()
    elif name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'deeprec' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
