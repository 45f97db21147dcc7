"""What episodes run in, and the seconds that they spend there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from deeprec.config import RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Engine
from deeprec.rollout.list_makers import ListMaker
from deeprec.trm.base import Retriever


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
    lists: ListMaker | None = None  # fills opened lists; none: the policy writes on

    def __post_init__(self) -> None:
        check_list_sizes(self.config, self.dataset)

    def with_lists(self, lists: ListMaker | None) -> Environment:
        """The same, with lists filled by another maker."""
        return replace(self, lists=lists)

    def forget(self) -> None:
        """Give memory back, and go on to fresh random numbers: before a batch, and after a change of weights."""
        self.engine.forget()
        if self.lists is not None:
            self.lists.forget()

    def reseed(self, seed: int) -> None:
        """Draw as a new environment with this seed would."""
        self.engine.reseed(seed)
        if self.lists is not None:
            self.lists.reseed(seed)


def check_list_sizes(config: RolloutConfig, dataset: Dataset) -> None:
    """Raise RetrievalError for lists longer than the catalogue."""
    for key in ("retrieved", "recommended"):
        wanted, most = getattr(config, key), dataset.catalog.n_items
        if wanted > most:
            raise RetrievalError(
                f"rollout.{key} = {wanted} is more than the catalogue's {most} items; lower it"
            )
