"""The tiny policy's tokenizer, built from a catalogue.

A whole item label is one token, and so is the start of a numbered line: a rendered list
costs two tokens an item. So is each phrase that a policy is taught to ask for ("Hair Care"): over a phrase of
several tokens a small policy stutters ("Nail Art Art Art"). Everything else is made of sub-word pieces learned
from the texts, and of single bytes for what those don't know, so that any text reads back exactly.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteFallback, Fuse, Sequence
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from deeprec.data.catalog import Catalog
from deeprec.errors import PolicyError
from deeprec.rollout.tags import TAGS
from deeprec.trm.phrases import spoken_phrases

PAD = "<|pad|>"
EOS = "<|end_of_text|>"

# Phrases as a preference writes them ("Sci-Fi", "1990s", "2014-05") are one stretch without their space, so
# that a phrase is the same token wherever it stands; running text keeps the space with its word.
# Every character belongs to exactly one stretch, hence nothing is lost.
_STRETCHES = (
    r" ?\p{Ll}[\p{L}\p{M}'’]*|\p{L}[\p{L}\p{M}'’&-]*"
    r"|\p{N}{4}-\p{N}{2}(?!\p{N})|\p{N}{4}s?|\p{N}|[;,:.] | ?[^\s\p{L}\p{N}]|\s"
)
_YEARS, _YEAR_REPEATS = 200, 50  # the commonest years are repeated often enough to end as one piece


def build_tokenizer(
    catalog: Catalog, texts: Iterable[str], pieces: int, lines: int = 20
) -> PreTrainedTokenizerFast:
    """Build a tokenizer whose vocabulary holds every label of `catalog`.

    `texts` are what the policy will read and write besides labels (prompts, thoughts,
    facts); `pieces` is how many sub-word pieces are learned from them and from the
    catalogue, besides 256 bytes. Numbered lines "\\n1. " to "\\n{lines}. " and `spoken_phrases` are one token each.
    Deterministic. A label that occurs as whole words in free text is its token there too. No piece
    is a label, but for single letters: the film "M" and the letter share an id.
    Raises PolicyError for a label that holds a tag.
    """
    reserved = {*TAGS.all, PAD, EOS}
    for item in catalog.items:
        if any(tag in item.label for tag in reserved):
            raise PolicyError(
                f"item {item.item_id!r}: label {item.label!r} holds a tag; clean it with clean_text"
            )
    vocabulary, merges = _learn_pieces(
        _corpus(catalog, texts), pieces, {item.label for item in catalog.items}
    )
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
    tokenizer.pre_tokenizer = Split(Regex(_STRETCHES), "isolated")
    tokenizer.decoder = Sequence([ByteFallback(), Fuse()])
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in (PAD, EOS, *TAGS.all)])
    # With their line break: at the start of a line alone a number is a place in a list.
    starts = [AddedToken(f"\n{number}. ", normalized=False) for number in range(1, lines + 1)]
    starts.append(AddedToken("\n- ", normalized=False))
    # Whole words only: the film "M" is not the first letter of "Music".
    whole = [*(item.label for item in catalog.items), *spoken_phrases(catalog)]
    words = [AddedToken(text, normalized=False, single_word=True) for text in dict.fromkeys(whole)]
    tokenizer.add_tokens(starts + words)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False
    )


def _corpus(catalog: Catalog, texts: Iterable[str]) -> Iterator[str]:
    yield from texts
    years = Counter(item.year for item in catalog.items if item.year is not None)
    for year, _ in years.most_common(_YEARS):
        yield "; ".join([str(year)] * _YEAR_REPEATS)
    for item in catalog.items:
        yield item.label


def _learn_pieces(
    texts: Iterator[str], pieces: int, labels: set[str]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train byte-pair encoding; the 256 byte tokens in front of the letters and what merges make of them."""
    learner = Tokenizer(BPE(byte_fallback=True))
    learner.pre_tokenizer = Split(Regex(_STRETCHES), "isolated")
    # A catalogue in many scripts may not fill all pieces with single letters: rare ones go by bytes.
    trainer = BpeTrainer(vocab_size=pieces, limit_alphabet=max(pieces // 3, 1), show_progress=False)
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]
    known = [f"<0x{byte:02X}>" for byte in range(256)]
    known += sorted(piece for piece in learned["vocab"] if len(piece) == 1)
    vocabulary = {piece: number for number, piece in enumerate(known)}
    merges = []
    for left, right in learned["merges"]:
        # A piece that is also a label would be that item's token, in the middle of other words too.
        if left in vocabulary and right in vocabulary and left + right not in labels:
            vocabulary.setdefault(left + right, len(vocabulary))
            merges.append((left, right))
    return vocabulary, merges
