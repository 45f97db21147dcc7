from __future__ import annotations

import numpy as np
import pytest

from deeprec.trm.phrases import join_phrases, split_phrases, title_phrases
from deeprec.trm.quality import SMALL_TALK
from deeprec.trm.talk import small_talk, wrap
from deeprec.types import Item


@pytest.mark.parametrize(
    ("text", "phrases"),
    [(None, []), ("", []), (" ; ;", []), ("a", ["a"]), ("a;b ; a", ["a", "b"]), ("a, b", ["a, b"])],
)
def test_split(text: str | None, phrases: list[str]) -> None:
    assert split_phrases(text) == phrases
    assert split_phrases(join_phrases(phrases)) == phrases


def test_title_pieces_are_few_and_short() -> None:
    item = Item(1, "a", " ".join(f"w{number}" for number in range(30)), "", (), None)
    pieces = title_phrases(item)
    assert len(pieces) == 3
    assert all(len(piece.split()) == 3 for piece in pieces)


def test_small_talk_is_varied_repeatable_and_not_what_is_measured_with() -> None:
    said = small_talk(400, np.random.default_rng(0))
    assert said == small_talk(400, np.random.default_rng(0))
    assert all(said)
    assert len(set(said)) > 250
    assert not set(said) & {phrase for text in SMALL_TALK for phrase in split_phrases(text)}


def test_wrapped_phrases_keep_the_phrase() -> None:
    rng = np.random.default_rng(0)
    wrapped = {wrap("Comedy", rng) for _ in range(100)}
    assert len(wrapped) > 10
    assert all("Comedy" in text and text != "Comedy" for text in wrapped)
