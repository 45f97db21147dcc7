"""Texts and scripted trajectories that a policy is warm-started on. Sees only the fit part.

A policy that never writes a tag can't be rewarded for it, so it is first shown the
format. The scripts are no teacher of taste: a preference is a guess drawn from what the
next item of the *fit* history is like, or from what the user had lately, and the final
list is the last retrieved one in the TRM's order, with the next item at the top where it
was found. (Other orders were tried: a small policy takes many times longer to learn to
merge lists, see docs/log.md.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deeprec.config import RolloutConfig
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Segment
from deeprec.rollout.episode import Episode
from deeprec.rollout.protocol import render_prompt, render_ranking
from deeprec.rollout.runner import answer_preferences
from deeprec.rollout.tags import TAGS
from deeprec.trm.base import Retriever
from deeprec.trm.phrases import item_phrases, join_phrases
from deeprec.types import Example, Trajectory

TURNS = (1, 2, 3)
TURN_SHARES = (0.3, 0.4, 0.3)  # every count is sampled, so that stage 1 can choose among them
NARROW_PHRASES = (1, 2)  # fewest and most in a preference that explores
WIDE_PHRASES = (2, 4)  # and in the last one
TARGET_FIRST_SHARE = 0.8  # a next item that was retrieved is put first this often

Rarity = dict[str, float]


@dataclass(frozen=True, slots=True)
class Document:
    """Token ids with a loss mask, 1 where a supervised loss is taken; parallel, T long."""

    ids: tuple[int, ...]
    mask: tuple[int, ...]


def facts(catalog: Catalog) -> list[str]:
    """One line of text per item: label, then the phrases that describe it."""
    return [f"{item.label} | {'; '.join(item_phrases(item))}\n" for item in catalog.items]


def corpus(dataset: Dataset) -> list[str]:
    """All free text a tokenizer should know: facts, and the words of prompts and scripts."""
    words = [line for last in (False, True) for line in (_thought(["a", "b"], is_last=last), _CLOSING)]
    profiles = [f"{key}: {value}" for user in dataset.fit_histories() for key, value in user.profile.items()]
    return [*facts(dataset.catalog), *words, *profiles, "History\n", " | ", "; "]


def text_documents(dataset: Dataset, codec: Codec, config: RolloutConfig) -> list[Document]:
    """Catalogue facts, and every fit history as the prompt writes it; loss on all of it."""
    documents = []
    for text in facts(dataset.catalog):
        documents.append(_document(codec, text))
    for example in dataset.fit_histories():
        for start in range(0, len(example.history), config.history):
            window = _until(example, min(start + config.history, len(example.history)))
            documents.append(_document(codec, render_prompt(window, dataset.catalog, config)))
    return documents


def _document(codec: Codec, text: str) -> Document:
    ids = tuple(codec.encode(text))
    return Document(ids, (0, *[1] * (len(ids) - 1)))


def _until(example: Example, end: int, target: int = 0) -> Example:
    return Example(
        user_id=example.user_id,
        history=example.history[:end],
        target=target,
        ratings=example.ratings[:end],
        timestamps=example.timestamps[:end],
        profile=example.profile,
    )


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
        found.append(_until(example, end, example.history[end]))
    return found


def scripted_trajectories(
    dataset: Dataset,
    retriever: Retriever,
    codec: Codec,
    config: RolloutConfig,
    count: int,
    context_length: int,
    rng: np.random.Generator,
    chunk: int = 256,
) -> Iterator[list[Trajectory]]:
    """Finished scripted trajectories over the fit part, in chunks.

    They are made by the same `Episode` as rollouts, so form and masks agree.
    """
    for start in range(0, count, chunk):
        examples = fit_examples(dataset, min(chunk, count - start), rng)
        yield _script_chunk(examples, dataset, retriever, codec, config, context_length, rng)


def _script_chunk(
    examples: Sequence[Example],
    dataset: Dataset,
    retriever: Retriever,
    codec: Codec,
    config: RolloutConfig,
    context_length: int,
    rng: np.random.Generator,
) -> list[Trajectory]:
    catalog = dataset.catalog
    rarity = phrase_rarity(catalog)
    episodes = [Episode(key, e, catalog, codec, config, context_length) for key, e in enumerate(examples)]
    most = min(max(TURNS), config.max_retrievals)
    turns = np.minimum(rng.choice(TURNS, size=len(examples), p=TURN_SHARES), most)
    for turn in range(most):
        active = [e for e in episodes if turns[e.key] > turn and not e.is_done]
        if not active:
            break
        for episode in active:
            is_last = turns[episode.key] == turn + 1
            _speak(episode, codec, _exploration(episode, catalog, rarity, rng, is_last=is_last))
        waiting = [episode for episode in active if episode.preference is not None]
        if waiting:
            answer_preferences(waiting, dataset, retriever, config)
    for episode in episodes:
        if not episode.is_done:
            ranking = _rank(episode, config.recommended, rng)
            _speak(episode, codec, f"{_CLOSING}{TAGS.end_think}\n{render_ranking(ranking, catalog)}")
    return [episode.finish() for episode in episodes]


def _speak(episode: Episode, codec: Codec, text: str) -> None:
    ids = tuple(codec.encode(text))
    # The caps hold for scripts too: what a policy couldn't write, it isn't shown.
    cap = episode.request().max_new_tokens
    episode.feed(Segment(ids[:cap], (0.0,) * min(len(ids), cap), stopped=len(ids) <= cap))


_CLOSING = "Now rank."


def _thought(phrases: Sequence[str], *, is_last: bool) -> str:
    return f"{'Overall' if is_last else 'Perhaps'}: {', '.join(phrases)}."


def _exploration(
    episode: Episode, catalog: Catalog, rarity: Rarity, rng: np.random.Generator, *, is_last: bool
) -> str:
    turn = len(episode.turns)
    recent = episode.example.history[-10:]
    counts = Counter(phrase for item in recent for phrase in _phrases(catalog, item))
    # What the user has more of than the catalogue, not what everybody has.
    usual = sorted(counts, key=lambda phrase: (-counts[phrase] * rarity[phrase], phrase))
    shown = usual[turn : turn + 2] or usual[:2] or ["new"]
    preference = _preference(episode, catalog, rarity, rng, is_last=is_last)
    thought = _thought(shown, is_last=is_last)
    return f"{thought}{TAGS.begin_preference}{preference}{TAGS.end_preference}"


def _preference(
    episode: Episode, catalog: Catalog, rarity: Rarity, rng: np.random.Generator, *, is_last: bool
) -> str:
    """First a narrow wish: one or two phrases of the next fit item or of recent ones. At last a wide one.

    The last list is the one that is answered with, so its wish is the sum of several recent
    items. Never one already asked for, if that can be helped. Rare phrases come a little
    more often than they stand in the catalogue, or the commonest genre would be the
    likeliest word for every user.
    """
    asked = {turn.preference for turn in episode.turns}
    history = episode.example.history
    sources = (history[-1:], history[-5:]) if is_last else ((episode.example.target,), history[-5:])
    fewest, most = WIDE_PHRASES if is_last else NARROW_PHRASES
    text = ""
    for _ in range(4):
        items = sources[rng.integers(len(sources))]
        phrases = list(dict.fromkeys(phrase for item in items for phrase in _phrases(catalog, item)))
        phrases = phrases or [catalog[items[-1]].label]
        share = np.array([rarity.get(phrase, 1.0) for phrase in phrases]) ** 0.5
        size = min(len(phrases), int(rng.integers(fewest, most + 1)))
        chosen = sorted(rng.choice(len(phrases), size=size, replace=False, p=share / share.sum()))
        text = join_phrases([phrases[index] for index in chosen])
        if text not in asked:
            break
    return text


def _phrases(catalog: Catalog, item_index: int) -> list[str]:
    """The item's phrases without its exact year, which is too narrow a wish."""
    return [phrase for phrase in item_phrases(catalog[item_index]) if not phrase.isdigit()]


def phrase_rarity(catalog: Catalog) -> Rarity:
    """For every phrase one over the number of items that it describes."""
    counts = Counter(phrase for item in catalog.items for phrase in item_phrases(item))
    return {phrase: 1.0 / count for phrase, count in counts.items()}


def _rank(episode: Episode, size: int, rng: np.random.Generator) -> list[int]:
    """The last list as the TRM ordered it, the next fit item often moved to the top."""
    last = episode.turns[-1].retrieved if episode.turns else ()
    target = episode.example.target
    if target in episode.retrieved and rng.random() < TARGET_FIRST_SHARE:
        last = (target, *(item for item in last if item != target))
    return list(last[:size])
