"""Text to token ids and back, the same for every tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from deeprec.errors import PolicyError
from deeprec.rollout.tags import TAGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Codec(Protocol):
    """What an episode needs of a tokenizer."""

    @property
    def eos_id(self) -> int:
        """Id of the token that ends a text."""
        ...

    @property
    def tag_ids(self) -> Mapping[str, int | None]:
        """For every tag of the protocol its id, or None where it isn't one token."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text. Nothing is added at either end; tags become their own token."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens kept, spaces left as they are."""
        ...


class TokenizerCodec:
    """A Codec around any Hugging Face tokenizer.

    Raises PolicyError for a tokenizer without an end-of-text token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.eos_token_id is None:
            raise PolicyError(
                f"tokenizer {tokenizer.name_or_path!r} has no end-of-text token; set its eos_token and save it again"
            )
        self.tokenizer = tokenizer
        self.eos_id: int = int(tokenizer.eos_token_id)
        self.tag_ids: Mapping[str, int | None] = {tag: self._single(tag) for tag in TAGS.all}

    def encode(self, text: str) -> list[int]:
        """Ids of a text. Nothing is added at either end; tags become their own token."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens kept, spaces left as they are."""
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _single(self, tag: str) -> int | None:
        ids = self.encode(tag)
        # An unknown-word token is also one id, but doesn't read back as the tag.
        return ids[0] if len(ids) == 1 and self.decode(ids) == tag else None
