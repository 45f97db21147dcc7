"""What episodes run in, and the seconds that they spend there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deeprec.config import RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Engine
from deeprec.trm.base import Retriever

if TYPE_CHECKING:
    from deeprec.rollout.lists import ListWriter


@dataclass
class Clock:
    """Seconds spent in each part of a rollout; add up over calls by passing the same one."""

    engine: float = 0.0
    retrieval: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Environment:
    """What episodes run in: the data, the TRM, an engine with its tokenizer, and the caps."""

    dataset: Dataset
    retriever: Retriever
    engine: Engine
    codec: Codec
    config: RolloutConfig
    clock: Clock = field(default_factory=Clock)
    lists: ListWriter | None = None  # writes lists where the policy doesn't; needs its model in this process

    def __post_init__(self) -> None:
        check_list_sizes(self.config, self.dataset)


def check_list_sizes(config: RolloutConfig, dataset: Dataset) -> None:
    """Raise RetrievalError for lists longer than the catalogue."""
    for key in ("retrieved", "recommended"):
        wanted, most = getattr(config, key), dataset.catalog.n_items
        if wanted > most:
            raise RetrievalError(
                f"rollout.{key} = {wanted} is more than the catalogue's {most} items; lower it"
            )
