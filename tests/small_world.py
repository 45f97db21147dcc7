"""A small catalogue and its users, and the parts that act on them; all of it real, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import polars as pl
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from deeprec.config import RolloutConfig
from deeprec.data.catalog import Catalog, build_labels
from deeprec.data.dataset import Dataset
from deeprec.policy.tokenizer import build_tokenizer
from deeprec.rl.scripts import corpus
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.tags import TAGS
from deeprec.types import Item

TITLES = (
    "Alien", "Aliens", "Alien 3", "Brazil", "Casino", "Dune", "Emma", "Fargo", "Gattaca", "Heat",
    "Ikiru", "Jaws", "Kagemusha", "Laura", "Metropolis", "Network", "Oldboy", "Persona", "Quiz Show", "Ran",
    "Seven", "Tootsie", "Up", "Vertigo", "Wings", "Xanadu", "Yojimbo", "Zodiac", "Amadeus", "Babe",
)  # fmt: skip
CATEGORIES = ("Action", "Comedy", "Drama", "Crime")
FIT, RL, VALIDATION, TEST = range(1, 21), range(21, 25), range(25, 28), range(28, 31)
N_USERS = 8


def build_catalog(titles: Sequence[str] = TITLES) -> Catalog:
    """Items in the order of `titles`, with labels as the data stage makes them."""
    ids = [f"id{number}" for number in range(1, len(titles) + 1)]
    years = [1970 + number for number in range(len(titles))]
    labels = build_labels(titles, ids, years)
    rows = zip(ids, titles, labels, years, strict=True)
    return Catalog(
        tuple(
            Item(index, item_id, title, label, (CATEGORIES[index % 4],), year)
            for index, (item_id, title, label, year) in enumerate(rows, 1)
        )
    )


@cache
def build_dataset(allow_repeats: bool = False) -> Dataset:
    """Items 1-20 occur in fit alone, 21-24 in rl alone, 25-27 in validation, 28-30 in test."""
    rows = []
    for user in range(N_USERS):
        fit = [(user * 3 + step * 2) % 20 + 1 for step in range(5 + user % 3)]
        parts = [("fit", item) for item in fit]
        parts += [("rl", 21 + user % 4), ("validation", 25 + user % 3), ("test", 28 + user % 3)]
        rows += [
            {
                "user_id": f"u{user}",
                "item_index": item,
                "timestamp": float(step),
                "rating": float(step % 5 + 1),
                "part": part,
            }
            for step, (part, item) in enumerate(parts)
        ]
    schema = {"user_id": pl.String, "item_index": pl.Int32, "timestamp": pl.Float64, "rating": pl.Float32}
    frame = pl.DataFrame(rows, schema={**schema, "part": pl.String})
    users = pl.DataFrame({"user_id": [f"u{user}" for user in range(N_USERS)], "age": ["25-34"] * N_USERS})
    return Dataset("small", build_catalog(), frame, users, allow_repeats)


@cache
def build_codec() -> TokenizerCodec:
    """The tiny policy's tokenizer for the small catalogue: every label and tag is one token."""
    dataset = build_dataset()
    return TokenizerCodec(build_tokenizer(dataset.catalog, corpus(dataset), 300))


@cache
def letters() -> TokenizerCodec:
    """One token a byte, tags aside: a title is many tokens, and "Alien" is the beginning of "Aliens"."""
    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab={**vocabulary, "<eos>": 256}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(tag, normalized=False) for tag in TAGS.all])
    return TokenizerCodec(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>"))


def explore(preference: str = "Action", thought: str = "Lately: Drama.") -> str:
    """A well-formed exploration as a policy writes it."""
    return f"{thought}{TAGS.begin_preference}{preference}{TAGS.end_preference}"


def final_list(titles: Sequence[str] = ("Alien", "Brazil", "Casino"), thought: str = "Now rank.") -> str:
    """A well-formed final list as a policy writes it."""
    lines = "\n".join(f"{number}. {title}" for number, title in enumerate(titles, 1))
    return f"{thought}{TAGS.end_think}\n{TAGS.begin_list}\n{lines}\n{TAGS.end_list}"


def settings(**changes: object) -> RolloutConfig:
    """Small sizes: 5 retrieved, 3 recommended."""
    values = {"retrieved": 5, "recommended": 3, "history": 4, "segment_tokens": 200, "response_tokens": 600}
    return RolloutConfig(**{**values, **changes})
