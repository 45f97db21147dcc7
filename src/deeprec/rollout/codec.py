"""Text to token ids and back, the same for every tokenizer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from jinja2 import TemplateError

from deeprec.errors import PolicyError
from deeprec.rollout.tags import TAGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_MESSAGE = "deeprecmessage"  # stands for a user's message while a chat template is rendered


# What expressions of a chat template raise: a division by zero, a missing key, text without end.
_FAILURES = (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, MemoryError, RecursionError)


class Codec(Protocol):
    """What an episode needs of a tokenizer."""

    @property
    def eos_id(self) -> int:
        """Id of the token that ends a text."""
        ...

    @property
    def tag_ids(self) -> Mapping[str, int]:
        """For every tag of the protocol the token that it is."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text. Nothing is added at either end; tags become their own token, and no other special one."""
        ...

    def encode_prompt(self, text: str, *, chat: bool) -> list[int]:
        """Ids of a whole prompt, with what this tokenizer's models expect in front of a text.

        With `chat` all up to the tag that opens the response is a user's message, where the
        tokenizer has a template for that.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens kept, spaces left as they are."""
        ...


class TokenizerCodec:
    """A Codec around any Hugging Face tokenizer.

    What stands in a text can't forge a special token (the beginning of a role, an end of text): such
    letters are encoded as letters. Raises PolicyError for a tokenizer without an end-of-text token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.eos_token_id is None:
            raise PolicyError(
                f"tokenizer {tokenizer.name_or_path!r} has no end-of-text token; set its eos_token and save it again"
            )
        self.tokenizer = tokenizer
        self.eos_id: int = int(tokenizer.eos_token_id)
        added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        special = (added | set(tokenizer.all_special_tokens)) - set(TAGS.all)
        self._special = re.compile("|".join(map(re.escape, sorted(special))))

    @cached_property
    def tag_ids(self) -> Mapping[str, int]:
        """For every tag of the protocol the token that it is. Raises PolicyError for one that isn't one token."""
        return {tag: self._single(tag) for tag in TAGS.all}

    def encode(self, text: str) -> list[int]:
        """Ids of a text. Nothing is added at either end; tags become their own token, and no other special one."""
        if self._special.search(text):
            return self._encode_letters(text)
        return self._encode(text)

    def encode_prompt(self, text: str, *, chat: bool) -> list[int]:
        """Ids of a whole prompt, with what this tokenizer's models expect in front of a text.

        With `chat` all up to the tag that opens the response is a user's message, where the tokenizer
        has a template for that. Raises PolicyError for a template that can't be used.
        """
        frame = self._chat_frame if chat else None
        if frame is None:
            return [*self._start, *self.encode(text)]
        said, opening, rest = text.rpartition(TAGS.begin_think)
        if not opening:
            said, rest = text, ""
        before, after = frame
        return [*before, *self.encode(said.strip()), *after, *self.encode(opening + rest)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens kept, spaces left as they are."""
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _encode(self, text: str, **options: Any) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False, **options)
        return ids

    def _encode_letters(self, text: str) -> list[int]:
        """Ids of a text in which the letters of special tokens, tags excepted, stand for themselves."""
        parts = re.split("(" + "|".join(map(re.escape, TAGS.all)) + ")", text)
        found: list[int] = []
        for part in parts:
            if part:
                found += self._encode(part, split_special_tokens=part not in TAGS.all)
        return found

    @cached_property
    def _start(self) -> list[int]:
        """The token in front of every text, for tokenizers that put one there by themselves."""
        bos = self.tokenizer.bos_token_id
        ids = self.tokenizer.encode("a", add_special_tokens=True)
        return [int(bos)] if bos is not None and ids[:1] == [bos] else []

    @cached_property
    def _chat_frame(self) -> tuple[list[int], list[int]] | None:
        """What the chat template writes before and behind a user's message; None without a template."""
        if not self.tokenizer.chat_template:
            return None
        try:
            shown: str = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": _MESSAGE}], tokenize=False, add_generation_prompt=True
            )
        except (TemplateError, *_FAILURES) as error:
            raise PolicyError(self._unusable(str(error))) from error
        if shown.count(_MESSAGE) != 1:
            raise PolicyError(self._unusable(f"it shows a user's message {shown.count(_MESSAGE)} times"))
        # The template's own special tokens are meant.
        before, after = (self._encode(part) for part in shown.split(_MESSAGE))
        start = [] if before[: len(self._start)] == self._start else self._start
        return [*start, *before], after

    def _unusable(self, reason: str) -> str:
        return (
            f"tokenizer {self.tokenizer.name_or_path!r}: its chat template can't be used ({reason}); "
            "set rollout.chat = false to show the instruction as plain text"
        )

    def _single(self, tag: str) -> int:
        ids = self.encode(tag)
        # An unknown-word token is also one id, but doesn't read back as the tag.
        if len(ids) != 1 or self.decode(ids) != tag:
            raise PolicyError(
                f"tokenizer {self.tokenizer.name_or_path!r}: {tag!r} is not one token; load it with "
                "deeprec.policy.loading.load_policy, which adds the protocol's tags"
            )
        return ids[0]
