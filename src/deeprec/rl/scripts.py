"""Texts and scripted trajectories that a policy is warm-started on. Never sees an RL or held-out target.

A policy that never writes a tag can't be rewarded for it, so it is first shown the format. One preference of a
script is wide, the sum of several recent items; the others ask for what the thought before them named. The wide
one comes last, or first where lists are masked. The final list is the wide preference's in the TRM's order,
with the next item at the top where it was retrieved. The next item is one that the TRM was not fitted on if the
data has such (`data.script_targets`), else any of the fit history: then the TRM ranks it better than it will
rank new ones, and scripts trust its order too much. (Other orders of the list were tried: a small policy takes
many times longer to learn to merge lists, see docs/log.md.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deeprec.config import RolloutConfig
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.rl.documents import Document, facts, script_examples
from deeprec.rl.wish_scripts import WishScripts
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Segment
from deeprec.rollout.episode import Episode
from deeprec.rollout.protocol import render_ranking
from deeprec.rollout.retrieval import write_retrieved
from deeprec.rollout.tags import TAGS
from deeprec.trm.base import Retriever
from deeprec.trm.periods import NOW, month_phrase
from deeprec.trm.phrases import item_phrases, join_phrases, spoken_phrases
from deeprec.types import Example, Trajectory

TURNS = (1, 2, 3)
TURN_SHARES = (0.3, 0.4, 0.3)  # every count is sampled, so that stage 1 can choose among them
NARROW_PHRASES = (1, 2)  # fewest and most in a preference that explores
WIDE_PHRASES = (2, 4)  # and in the wide one
_RECENT = 10  # latest items that a script's thoughts are about
OPEN_PREFERENCE = "no preference"  # steers nothing: what is never shown can't be chosen later
OPEN_SHARE = 0.3  # of the wide preferences that are left open, or name the month alone
# Of the preferences that also name the month of the latest item, where dates are shown or `now` is known (a wide one
# is `now` alone there).
DATED_SHARE = 0.5

Rarity = dict[str, float]


@dataclass(frozen=True, slots=True)
class Script:
    """A scripted trajectory and where a loss is taken, parallel to its response.

    Where the next item was not retrieved the first title carries none: it is the TRM's
    favourite then, and learning to write it would teach to trust the TRM's first place
    beyond what it deserves. `example` is what it was made from.
    """

    trajectory: Trajectory
    mask: tuple[int, ...]
    example: Example

    @property
    def document(self) -> Document:
        """The whole text as ids, with the loss mask."""
        ids = self.trajectory.prompt_ids
        return Document(ids + self.trajectory.response_ids, (0,) * len(ids) + self.mask)

    @property
    def spoken(self) -> Document:
        """The same up to the last id with a loss: what is read behind it teaches nothing."""
        whole = self.document
        end = len(whole.mask) - whole.mask[::-1].index(1) if 1 in whole.mask else 0
        return Document(whole.ids[:end], whole.mask[:end])


class Taught(NamedTuple):
    """What a policy is taught to say: scripts, and what gives further texts about wishes, if any are learned."""

    scripts: Sequence[Script]
    wishes: WishScripts | None


def corpus(dataset: Dataset, further: Sequence[str] = ()) -> list[str]:
    """All free text a tokenizer should know: facts, the words of prompts and scripts, and what is given besides."""
    words = [line for wide in (False, True) for line in (_thought(["a", "b"], is_wide=wide), _CLOSING)]
    profiles = [f"{key}: {value}" for user in dataset.fit_histories() for key, value in user.profile.items()]
    # Often enough to end as one piece each: a month is then copied in one go, or not at all.
    times = {month_phrase(time) for user in dataset.fit_histories() for time in user.timestamps}
    months = ["; ".join([month] * 50) for month in sorted(times)]
    texts = [*facts(dataset.catalog), *words, *profiles, *months]
    return [*texts, "History\n", " | ", "; ", f"{NOW}; {OPEN_PREFERENCE}", *further]


def scripted_trajectories(
    dataset: Dataset,
    retriever: Retriever,
    codec: Codec,
    config: RolloutConfig,
    count: int,
    context_length: int,
    rng: np.random.Generator,
    chunk: int = 256,
    wishes: WishScripts | None = None,
) -> Iterator[list[Script]]:
    """Finished scripts in chunks, made by the same `Episode` as rollouts, so that form and masks agree.

    `wishes` gives a share of them a wish, and says what is written then.
    """
    held_back = dataset.examples("script")  # once: on a large set it takes its time
    for start in range(0, count, chunk):
        examples = script_examples(dataset, held_back, min(chunk, count - start), rng)
        examples = examples if wishes is None else wishes.given(examples, rng)
        episodes = _explore(examples, dataset, retriever, codec, config, context_length, rng, wishes)
        yield [_finish(episode, codec, config) for episode in episodes]


def _explore(
    examples: Sequence[Example],
    dataset: Dataset,
    retriever: Retriever,
    codec: Codec,
    config: RolloutConfig,
    context_length: int,
    rng: np.random.Generator,
    wishes: WishScripts | None,
) -> list[Episode]:
    """Episodes of these examples, up to where the list would open."""
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
            is_wide = turn == 0 if _leads_first(config) else turns[episode.key] == turn + 1
            text = None if wishes is None else wishes.exploration(episode, _usual(episode, rarity, config))
            text = text or _exploration(episode, catalog, rarity, rng, is_wide=is_wide, config=config)
            _speak(episode, codec, text)
        waiting = [episode for episode in active if episode.preference is not None]
        if waiting:
            write_retrieved(waiting, dataset, retriever, config)
    return episodes


def _leads_first(config: RolloutConfig) -> bool:
    """Whether the wide preference comes first, else last.

    A masked list ranks by the first preference. A list that is written copies the wide preference's, and the nearest
    one is copied best; but where later turns bring new items only, the best items would be missing from it.
    """
    return config.list == "masked" or config.new_items_only


def _finish(episode: Episode, codec: Codec, config: RolloutConfig) -> Script:
    """Write the final list, if the episode got so far."""
    if episode.is_done:
        trajectory = episode.finish()
        return Script(trajectory, trajectory.loss_mask, episode.example)
    ranking, catalog = _rank(episode, config), episode.catalog
    opening = f"{_CLOSING}{TAGS.end_think}\n"
    if config.list != "free":
        return _open_list(episode, codec, f"{opening}{TAGS.begin_list}", tuple(ranking))
    text = f"{opening}{render_ranking(ranking, catalog)}"
    _speak(episode, codec, text)
    trajectory = episode.finish()
    mask = list(trajectory.loss_mask)
    if ranking and episode.example.target not in episode.retrieved:
        # Counted in tokens of the text as it was encoded: the line's beginning may join with the tag before it.
        before = len(mask) - len(codec.encode(text))
        line = f"{opening}{TAGS.begin_list}\n1. "
        start = before + len(codec.encode(line))
        end = before + len(codec.encode(f"{line}{catalog[ranking[0]].label}"))
        mask[start:end] = [0] * (end - start)
    return Script(trajectory, tuple(mask), episode.example)


def _open_list(episode: Episode, codec: Codec, text: str, ranking: tuple[int, ...]) -> Script:
    """The policy opens the list and writes no more."""
    _speak(episode, codec, text)
    if episode.awaits_list:
        episode.write_list(ranking)
    trajectory = episode.finish()
    return Script(trajectory, trajectory.loss_mask, episode.example)


def _speak(episode: Episode, codec: Codec, text: str) -> None:
    ids = tuple(codec.encode(text))
    # The caps hold for scripts too: what a policy couldn't write, it isn't shown.
    cap = episode.request().max_new_tokens
    episode.feed(Segment(ids[:cap], (0.0,) * min(len(ids), cap), stopped=len(ids) <= cap))


_CLOSING = "Now rank."


def _thought(phrases: Sequence[str], *, is_wide: bool) -> str:
    return f"{'Overall' if is_wide else 'Perhaps'}: {', '.join(phrases)}."


def _exploration(
    episode: Episode,
    catalog: Catalog,
    rarity: Rarity,
    rng: np.random.Generator,
    *,
    is_wide: bool,
    config: RolloutConfig,
) -> str:
    turn, usual = len(episode.turns), _usual(episode, rarity, config)
    shown = usual[turn : turn + 2] or usual[:2]
    times = episode.example.timestamps
    if is_wide and config.now and times:
        # What is asked for lately by everybody is the one thing that a plain list doesn't know: phrases beside it
        # would steer away from it.
        preference = NOW
    else:
        preference = _preference(episode, catalog, rarity, rng, shown, is_wide=is_wide)
    is_dated = config.now or "date" in config.prompt_fields
    if preference != NOW and is_dated and times and rng.random() < DATED_SHARE:
        month = NOW if config.now else month_phrase(times[-1])
        preference = month if preference == OPEN_PREFERENCE else join_phrases([month, preference])
    thought = _thought(shown or ["new"], is_wide=is_wide)
    return f"{thought}{TAGS.begin_preference}{preference}{TAGS.end_preference}"


def _usual(episode: Episode, rarity: Rarity, config: RolloutConfig) -> list[str]:
    """What the user's latest items have more of than the catalogue, first: by the difference of the two shares.

    By the share in the history alone nearly everybody's thought is about the commonest genre; by the quotient of the
    two it is about the rarest phrase, and a small policy guesses.
    """
    recent = episode.example.history[-min(_RECENT, config.history) :]
    counts = Counter(phrase for item in recent for phrase in _phrases(episode.catalog, item, rarity))

    def excess(phrase: str) -> float:
        return counts[phrase] / len(recent) - 1.0 / (rarity[phrase] * episode.catalog.n_items)

    return sorted(counts, key=lambda phrase: (-excess(phrase), phrase))


def _preference(
    episode: Episode,
    catalog: Catalog,
    rarity: Rarity,
    rng: np.random.Generator,
    shown: Sequence[str],
    *,
    is_wide: bool,
) -> str:
    """A narrow preference, one or two phrases of the thought (`shown`), or a wide one, several of recent items.

    Never one already asked for, if that can be helped: then a narrow one is about recent items, too. Thoughts of
    two turns begin with other phrases, so that preferences which follow them differ within a trajectory and between
    users; when half of them guessed at the next item, a small policy learned the commonest phrase and said it again
    and again. Rare phrases come a little more often than they stand in the catalogue, or the commonest genre would
    be the likeliest word for every user.
    """
    asked = {turn.preference for turn in episode.turns}
    history = episode.example.history
    if is_wide and rng.random() < OPEN_SHARE and OPEN_PREFERENCE not in asked:
        return OPEN_PREFERENCE
    sources = (history[-1:], history[-5:])
    fewest, most = WIDE_PHRASES if is_wide else NARROW_PHRASES
    if shown and not is_wide:
        meant = join_phrases(list(shown[: int(rng.integers(fewest, most + 1))]))
        if meant not in asked:
            return meant
    text = ""
    for _ in range(4):  # tries for one that was not asked for yet; a poor item may have no other
        items = sources[rng.integers(len(sources))]
        phrases = list(dict.fromkeys(phrase for item in items for phrase in _phrases(catalog, item, rarity)))
        phrases = phrases or [catalog[items[-1]].label]
        # The root of one over the count: by the count itself nothing but the rarest would be asked for.
        share = np.array([rarity.get(phrase, 1.0) for phrase in phrases]) ** 0.5
        size = min(len(phrases), int(rng.integers(fewest, most + 1)))
        chosen = sorted(rng.choice(len(phrases), size=size, replace=False, p=share / share.sum()))
        text = join_phrases([phrases[index] for index in chosen])
        if text not in asked:
            break
    return text


def _phrases(catalog: Catalog, item_index: int, spoken: Rarity) -> list[str]:
    """The item's phrases that scripts say."""
    return [phrase for phrase in item_phrases(catalog[item_index]) if phrase in spoken]


def phrase_rarity(catalog: Catalog) -> Rarity:
    """For every phrase that scripts say one over the number of items that it describes."""
    return {phrase: 1.0 / count for phrase, count in spoken_phrases(catalog).items()}


def _rank(episode: Episode, config: RolloutConfig) -> list[int]:
    """The wide preference's list as the TRM ordered it, the next item moved to the top if any turn retrieved it."""
    turn = 0 if _leads_first(config) else -1
    ranked = episode.turns[turn].retrieved if episode.turns else ()
    target = episode.example.target
    if target in episode.retrieved:
        ranked = (target, *(item for item in ranked if item != target))
    return list(ranked[: config.recommended])
