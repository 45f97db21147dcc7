"""Titles that a tokenizer can't write and read back are told before anything is trained on them."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from deeprec.data.catalog import Catalog, build_labels
from deeprec.errors import PolicyError
from deeprec.policy.titles import check_titles, lost_titles
from deeprec.rollout.codec import TokenizerCodec
from deeprec.types import Item

COMPOSED, APART = "Pok\u00e9mon", "Poke\u0301mon"


def codec(normalizer: normalizers.Normalizer | None, alphabet: list[str] | None = None) -> TokenizerCodec:
    """A byte-level tokenizer without merges, which loses nothing but what its normalizer changes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet()) if alphabet is None else alphabet
    vocabulary = {letter: place for place, letter in enumerate(["<unk>", "<eos>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return TokenizerCodec(
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")
    )


def catalog(*titles: str) -> Catalog:
    ids = [f"i{place}" for place in range(len(titles))]
    labels = build_labels(titles, ids, [None] * len(titles))
    items = zip(ids, titles, labels, strict=True)
    return Catalog(tuple(Item(place, *fields) for place, fields in enumerate(items, 1)))


ODD = (
    "Alien (1979)",
    COMPOSED,
    "STRASSE Straße",
    "\uff21lien full width",
    "坂本龍一",
    "emoji \U0001f600",
    "ǅ İ ſ",
)


@pytest.mark.parametrize(
    "normalizer",
    [
        None,
        normalizers.NFC(),
        normalizers.NFD(),
        normalizers.NFKC(),
        normalizers.NFKD(),
        normalizers.Lowercase(),
        normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
    ],
    ids=str,
)
def test_titles_come_back_through_the_usual_normal_forms(normalizer: normalizers.Normalizer | None) -> None:
    assert lost_titles(codec(normalizer), catalog(*ODD)) == []


@pytest.mark.parametrize(
    "normalizer", [None, normalizers.NFC(), normalizers.NFD(), normalizers.Lowercase()], ids=str
)
def test_titles_that_look_alike_are_told_apart(normalizer: normalizers.Normalizer | None) -> None:
    twins = catalog(COMPOSED, APART)
    assert [item.label for item in twins.items] == [f"{COMPOSED} [i0]", f"{APART} [i1]"]
    assert lost_titles(codec(normalizer), twins) == []


def test_what_is_lost_is_named_with_what_comes_back_and_the_remedy() -> None:
    lowering = codec(normalizers.Lowercase())
    twins = catalog("Up", "UP", "Heat")
    assert [item.label for item in lost_titles(lowering, twins)] == ["Up", "UP"]
    with pytest.raises(
        PolicyError, match=r"toy: .* can't write 2 of 3 titles \('Up' comes back as 'up';.*pseudonyms"
    ):
        check_titles(lowering, twins, "toy")
    stripping = codec(normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]))
    with pytest.raises(PolicyError, match="can't write 1 of 2 titles"):
        check_titles(stripping, catalog(COMPOSED, "Heat"), "toy")
    ascii_only = codec(
        None, [letter for letter in pre_tokenizers.ByteLevel.alphabet() if letter.isascii()] + ["Ġ"]
    )
    assert [item.label for item in lost_titles(ascii_only, catalog("Heat", "坂本"))] == ["坂本"]


def test_what_is_written_exactly_counts_before_what_has_the_same_form() -> None:
    twins = catalog("Up", "UP", "Straße")
    assert (twins.resolve("Up"), twins.resolve("UP"), twins.resolve("up")) == (1, 2, None)
    assert twins.resolve("STRASSE") == 3
    assert twins.resolve("Straß") is None
