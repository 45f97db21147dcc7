"""What scripts teach of wishes: hear what the user says, write what it means, and ask for it.

A share of the scripted trajectories carries a wish: it says what is wanted, asks for that, then for that together with
what the history has most of. Beside them short texts end with the first preference. What words mean is the same
for everybody, so these are about items drawn from the whole catalogue, by users whose history has nothing to do
with it: each step of training has its own, and no target is in them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deeprec.config import RolloutConfig, RunConfig, WishesConfig
from deeprec.data.dataset import Dataset
from deeprec.inputs import constants_of
from deeprec.rl.documents import Document
from deeprec.rollout.codec import Codec
from deeprec.rollout.episode import Episode
from deeprec.rollout.protocol import render_prompt, render_wish
from deeprec.rollout.tags import TAGS
from deeprec.trm.phrases import join_phrases, split_phrases
from deeprec.types import Example
from deeprec.wishes import forms, simulated, together, words
from deeprec.wishes.forms import KINDS
from deeprec.wishes.simulated import Wisher, rng_for

TEXTS_PER_STEP = 64  # short texts of an optimizer step
STEPS = 6  # of these, in an iteration of the warm start
# Titles are copied, of which there are thousands, and what names two things takes a second look: more of these.
_TAUGHT = (*KINDS, "like", "like", "newer", "two", "two", "exclusion", "exclusion")
SHOWN = 2  # titles of a history in a short text, at most
BARE = 0.7  # of the short texts, those that begin with the wish: what stands in front of it means nothing
_THOUGHT = "As you wish."
CORPUS = 3000  # wishes that a tokenizer learns its pieces from


class WishScripts:
    """Gives examples wishes, and says what a policy should write that hears them."""

    def __init__(
        self, dataset: Dataset, codec: Codec, rollout: RolloutConfig, wishes: WishesConfig, seed: int
    ) -> None:
        self._dataset, self._codec, self._rollout, self._wishes, self._seed = (
            dataset, codec, rollout, wishes, seed,
        )  # fmt: skip
        self._wisher = Wisher(dataset)
        self._histories = [example.history for example in dataset.fit_histories()]
        self._meant: dict[str, str] = {}

    def given(self, examples: Sequence[Example], rng: np.random.Generator) -> list[Example]:
        """The examples in their order, a share of them with a wish."""
        found = []
        for example in examples:
            wish = None
            if rng.random() < self._wishes.share:
                misleading = bool(rng.random() < self._wishes.misleading)
                wish = self._wisher.wish(example, rng, misleading=misleading)
            if wish is not None:
                self._meant[wish.text] = wish.meant
                example = replace(example, wish=wish.text)
            found.append(example)
        return found

    def exploration(self, episode: Episode, usual: Sequence[str]) -> str | None:
        """What a script writes in this turn of somebody who said a wish; None for who said nothing."""
        meant = self._meant.get(episode.example.wish) if episode.example.wish else None
        if meant is None:
            return None
        phrases = split_phrases(meant)
        further = [phrase for phrase in usual if not any(phrase in one for one in phrases)]
        turn = len(episode.turns)
        return said([*phrases, *further[turn - 1 : turn]] if turn else phrases)

    def batches(self, iteration: int) -> list[list[Document]]:
        """Short texts for each step of an iteration (from 0)."""
        return [self.texts(STEPS * iteration + step) for step in range(STEPS)]

    def texts(self, number: int) -> list[Document]:
        """Short texts of step `number`: loss on what is written, not on what is read."""
        rng = np.random.default_rng((self._seed, 9, number))
        return [document for _ in range(TEXTS_PER_STEP) if (document := self._text(rng)) is not None]

    def _text(self, rng: np.random.Generator) -> Document | None:
        item = int(rng.integers(1, self._dataset.catalog.n_items + 1))
        wish = self._wisher.wish_about(item, rng, _TAUGHT[int(rng.integers(len(_TAUGHT)))])
        if wish is None:
            return None
        history = self._histories[int(rng.integers(len(self._histories)))] if self._histories else ()
        length = int(rng.integers(SHOWN + 1))
        start = int(rng.integers(max(1, len(history) - length + 1)))
        example = Example("", history[start : start + length], wish=wish.text)
        prompt = render_prompt(example, self._dataset.catalog, self._rollout)
        if self._rollout.template == "compact" and rng.random() < BARE:
            prompt = prompt[prompt.rindex(render_wish(example, self._rollout)) :]
        read = tuple(self._codec.encode_prompt(prompt, chat=self._rollout.chats))
        written = tuple(self._codec.encode(said(split_phrases(wish.meant))))
        return Document(read + written, (0,) * len(read) + (1,) * len(written))


def build_wish_scripts(config: RunConfig, dataset: Dataset, codec: Codec) -> WishScripts | None:
    """What scripts say of wishes; None where none is to be learned."""
    if not config.wishes.share:
        return None
    return WishScripts(dataset, codec, config.rollout, config.wishes, config.seed)


def what_counts() -> dict[str, Any]:
    """The constants that scripts with wishes depend on."""
    return constants_of(sys.modules[__name__], forms, simulated, together, words)


def said(phrases: Sequence[str]) -> str:
    """A turn that asks for what a wish means.

    The thought is the same for all: one that names what is meant, too, would be the same work twice, and a small
    policy's slips in it go on in the preference.
    """
    return f"{_THOUGHT}{TAGS.begin_preference}{join_phrases(list(phrases))}{TAGS.end_preference}"


def wish_corpus(dataset: Dataset) -> list[str]:
    """Wishes about items of the catalogue, and what they mean: words that a tokenizer should know."""
    wisher, rng = Wisher(dataset), np.random.default_rng(0)
    found = ["Wish: \n"]
    for number in range(CORPUS):
        item = int(rng.integers(1, dataset.catalog.n_items + 1))
        wish = wisher.wish_about(item, rng, KINDS[number % len(KINDS)])
        if wish is not None:
            found += [wish.text, said(split_phrases(wish.meant))]
    return found


def validation_wishes(dataset: Dataset, examples: Sequence[Example], wishes: WishesConfig) -> list[Example]:
    """Those of the examples that can carry a wish, each with one in a sentence of validation; some are misleading."""
    wisher, found = Wisher(dataset), []
    for example in examples:
        rng = rng_for(0, example, "validation")
        wish = wisher.wish(
            example, rng, which="validation", misleading=bool(rng.random() < wishes.misleading)
        )
        if wish is not None:
            found.append(replace(example, wish=wish.text))
    return found
