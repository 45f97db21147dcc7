"""Texts for supervised training: token ids, where a loss is taken, and whose pasts they are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deeprec.config import RolloutConfig
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.rollout.codec import Codec
from deeprec.rollout.protocol import render_prompt
from deeprec.trm.phrases import item_phrases
from deeprec.types import Example


@dataclass(frozen=True, slots=True)
class Document:
    """Token ids with a loss mask, 1 where a supervised loss is taken; parallel, T long."""

    ids: tuple[int, ...]
    mask: tuple[int, ...]


def facts(catalog: Catalog) -> list[str]:
    """One line of text per item: label, then the phrases that describe it."""
    return [f"{item.label} | {'; '.join(item_phrases(item))}\n" for item in catalog.items]


def fact_documents(catalog: Catalog, codec: Codec) -> list[Document]:
    """Catalogue facts; loss on all of each."""
    encoded = [tuple(codec.encode(text)) for text in facts(catalog)]
    return [Document(ids, (0, *[1] * (len(ids) - 1))) for ids in encoded]


def history_documents(dataset: Dataset, codec: Codec, config: RolloutConfig) -> list[Document]:
    """Every fit history as the prompt writes it; loss on the titles, as the rest is never the policy's to write."""
    documents = []
    for example in dataset.fit_histories():
        for start in range(0, len(example.history), config.history):
            window = until(example, min(start + config.history, len(example.history)))
            documents.append(_history_document(window, dataset.catalog, codec, config))
    return documents


def _history_document(example: Example, catalog: Catalog, codec: Codec, config: RolloutConfig) -> Document:
    text = render_prompt(example, catalog, config)
    ids: list[int] = []
    mask: list[int] = []
    written = 0
    for item in example.history[-config.history :]:
        label = catalog[item].label
        start = text.index(f"- {label}", written) + 2
        for part, wanted in ((text[written:start], 0), (label, 1)):
            found = codec.encode(part)
            ids += found
            mask += [wanted] * len(found)
        written = start + len(label)
    rest = codec.encode(text[written:])
    ids += rest
    mask += [0] * len(rest)
    whole = codec.encode_prompt(text, chat=config.chats)
    if ids != whole:  # titles put together with what stands around them, or something in front
        return Document(tuple(whole), (0, *[1] * (len(whole) - 1)))
    return Document(tuple(ids), tuple(mask))


def until(example: Example, end: int, target: int = 0) -> Example:
    """The example as it was before its item number `end` (from 0), with `target` to be predicted."""
    return Example(
        user_id=example.user_id,
        history=example.history[:end],
        target=target,
        ratings=example.ratings[:end],
        timestamps=example.timestamps[:end],
        profile=example.profile,
    )


def script_examples(
    dataset: Dataset, held_back: Sequence[Example], count: int, rng: np.random.Generator
) -> list[Example]:
    """`count` pasts with the item that followed: drawn from those `held_back`, else from fit histories."""
    if held_back:
        return [held_back[index] for index in rng.integers(len(held_back), size=count)]
    return fit_examples(dataset, count, rng)


def fit_examples(dataset: Dataset, count: int, rng: np.random.Generator) -> list[Example]:
    """`count` cuts through fit histories: a past and the fit item that followed it."""
    histories = [example for example in dataset.fit_histories() if len(example.history) >= 2]
    if not histories:
        raise TrainingError(
            f"data set '{dataset.name}': no user has two fit interactions, so nothing can be scripted; "
            "lower data.rl_targets, or turn warm_start.enabled off"
        )
    lengths = np.array([len(example.history) - 1 for example in histories], dtype=np.float64)
    # Long histories give more cuts, but not in proportion: otherwise a few users are all there is.
    share = np.sqrt(lengths)
    chosen = rng.choice(len(histories), size=count, p=share / share.sum())
    found = []
    for index in chosen:
        example = histories[index]
        end = int(rng.integers(1, len(example.history)))
        found.append(until(example, end, example.history[end]))
    return found
