"""What episodes run in, and the seconds that they spend there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256

from deeprec.config import RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import EngineError, RetrievalError
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Engine, KeepsGuesses
from deeprec.rollout.list_makers import ListMaker
from deeprec.trm.base import KeepsHistories, Retriever
from deeprec.types import Example


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

    def restart(self, examples: Sequence[Example], seed: int) -> None:
        """Begin anew for users who are asked for together: what comes then depends on them and `seed` alone.

        To the last bit, so that any process may answer them, in any order.
        """
        if isinstance(self.retriever, KeepsHistories):
            self.retriever.forget_histories()
        if isinstance(self.engine, KeepsGuesses):
            self.engine.forget_guesses()
        users = "\x1f".join(example.user_id for example in examples)
        digest = sha256(f"{seed}\x1e{users}".encode()).digest()
        with suppress(EngineError):  # an engine that can't be trained with draws as it likes
            self.reseed(int.from_bytes(digest[:4]))


def check_list_sizes(config: RolloutConfig, dataset: Dataset) -> None:
    """Raise RetrievalError for lists longer than the catalogue."""
    for key in ("retrieved", "recommended"):
        wanted, most = getattr(config, key), dataset.catalog.n_items
        if wanted > most:
            raise RetrievalError(
                f"rollout.{key} = {wanted} is more than the catalogue's {most} items; lower it"
            )
