"""A language of a few dozen words, and what is measured on its texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

Words = Sequence[str]
Reward = Callable[[Words], float]

END, STOP, COMMA = "<end>", ".", ","
OPENINGS = ("the", "a", "this", "that", "every", "some", "our", "no")
ADJECTIVES = ("old", "young", "big", "small", "red", "quiet", "quick", "lazy")
VERBS = ("sees", "hears", "likes", "finds", "follows", "meets", "helps", "knows")
NOUNS = ("dog", "bird", "fish", "horse", "fox", "owl", "cow", "sheep")
RARE, UNHEARD = "cat", "zebra"  # one noun in twelve; a word that no sentence holds
RARE_SHARE = 0.08
VOCABULARY = (END, STOP, COMMA, *OPENINGS, *ADJECTIVES, *VERBS, *NOUNS, RARE, UNHEARD)

_NOUN = f"(?:{'|'.join((*NOUNS, RARE, UNHEARD))})"
_SENTENCE = re.compile(
    rf"(?:{'|'.join(OPENINGS)}) (?:(?:{'|'.join(ADJECTIVES)}) )?{_NOUN} (?:{'|'.join(VERBS)}) "
    rf"{_NOUN}(?: , {_NOUN})* \. {END}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token=END))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=END, eos_token=END)


def write_sentences(count: int, random: np.random.Generator, noun: str | None = None) -> list[Words]:
    """Sentences such as "the old dog sees fox , owl . <end>", with one to four animals seen; `noun` is the first."""

    def draw() -> str:
        return RARE if random.random() < RARE_SHARE else str(random.choice(NOUNS))

    def sentence() -> Words:
        words = [str(random.choice(OPENINGS))]
        if random.random() < 0.4:
            words.append(str(random.choice(ADJECTIVES)))
        words += [noun or draw(), str(random.choice(VERBS)), draw()]
        for _ in range(random.integers(4)):
            words += [COMMA, draw()]
        return [*words, STOP, END]

    return [sentence() for _ in range(count)]


# Rewards of one text, given as its words.


def presence(word: str) -> Reward:
    """1 for a text with the word."""
    return lambda words: float(word in words)


def occurrences(word: str) -> Reward:
    """1 for every time the word occurs: what can be gained by repeating will be."""
    return lambda words: float(list(words).count(word))


def occurrences_less_repeats(word: str) -> Reward:
    """The same, less 1 for every word that was there before; commas are free."""

    def reward(words: Words) -> float:
        counted = [other for other in words if other != COMMA]
        return float(counted.count(word) - (len(counted) - len(set(counted))))

    return reward


# What to watch besides the reward.


def share_with(word: str, texts: Sequence[Words]) -> float:
    """Share of texts that hold the word."""
    return sum(word in words for words in texts) / len(texts)


def distinct_share(texts: Sequence[Words]) -> float:
    """Mean over texts of distinct words / words: 1 where nothing is repeated."""
    return sum(len(set(words)) / len(words) for words in texts) / len(texts)


def whole_share(texts: Sequence[Words]) -> float:
    """Share of texts that are one whole sentence of the language."""
    return sum(_SENTENCE.fullmatch(" ".join(words)) is not None for words in texts) / len(texts)
