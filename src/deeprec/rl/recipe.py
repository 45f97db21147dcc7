"""What the code itself puts into a policy: its prompts, scripts, tokenizer and rewards.

None of them is a setting, and whoever edits one makes other policies. So each is worked out on a small fixed
case and enters the fingerprints of its stages: an edit that changes what comes out makes them
stale, one that doesn't leaves them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.config import PolicyConfig, RolloutConfig
from deeprec.contents import module_files
from deeprec.references import is_reference
from deeprec.rewards.mixture import RewardSpace, reward_parts
from deeprec.rewards.steps import step_rewards
from deeprec.rl.documents import fact_documents, history_documents
from deeprec.rl.scripts import corpus, scripted_trajectories
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.environment import Environment
from deeprec.rollout.protocol import render_ranking
from deeprec.rollout.runner import run_episodes
from deeprec.rollout.specimen import Letters, rendered, specimen
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import Popularity
from deeprec.types import Example

_SCRIPTS = 32
_ROOM = 1 << 20  # tokens: no cap of a specimen's own
_DIGITS = 6  # of a reward; the rest is rounding


def prompts(config: RolloutConfig) -> str:
    """Prompt, items and list as a policy reads and writes them."""
    return rendered(_sized(config))


def scripts(config: RolloutConfig) -> list[tuple[str, tuple[int, ...]]]:
    """Scripts, histories and facts as the warm start teaches them, with their loss masks."""
    return _scripts(_sized(config))


def _sized(config: RolloutConfig) -> RolloutConfig:
    """With sizes and caps that suit the specimen: a run's own are settings, and count as such."""
    sizes = {"history": 6, "retrieved": 5, "recommended": 3, "max_retrievals": 4}
    return config.model_copy(update={**sizes, "segment_tokens": _ROOM, "response_tokens": _ROOM})


@lru_cache
def _scripts(config: RolloutConfig) -> list[tuple[str, tuple[int, ...]]]:
    dataset, codec, rng = specimen(), Letters(), np.random.default_rng(0)
    retriever = Popularity.fit(dataset)
    chunks = scripted_trajectories(dataset, retriever, codec, config, _SCRIPTS, _ROOM, rng)
    written = [(script.trajectory.response, script.mask) for chunk in chunks for script in chunk]
    texts = [*history_documents(dataset, codec, config), *fact_documents(dataset.catalog, codec)]
    return [*written, *((codec.decode(text.ids), text.mask) for text in texts)]


@lru_cache
def tokenizer(config: PolicyConfig) -> dict[str, int]:
    """The vocabulary of the tiny policy's tokenizer on the specimen; empty for another policy."""
    if config.model != "tiny":
        return {}
    from deeprec.policy.tokenizer import build_tokenizer

    dataset = specimen()
    return dict(build_tokenizer(dataset.catalog, corpus(dataset), config.pieces).get_vocab())


def rewards(weights: Mapping[str, float]) -> list[Any]:
    """What the weighed parts give for a few trajectories, good and bad, and where in each it is earned.

    Parts of one's own are left out: they may know no catalogue but theirs. See `own_rewards`.
    """
    ours = {name: weight for name, weight in weights.items() if weight and not is_reference(name)}
    return _rewards(tuple(sorted(ours.items())))


def own_rewards(weights: Mapping[str, float]) -> dict[str, str]:
    """Hashes of the modules that weighed parts of one's own stand in, by module."""
    return module_files(name for name, weight in weights.items() if weight)


@lru_cache
def _rewards(weights: tuple[tuple[str, float], ...]) -> list[Any]:
    dataset, config = specimen(), _sized(RolloutConfig())
    texts, examples = _texts(), [Example("u0", (1, 2), target) for target in (5, 5, 8, 5, 5)]
    environment = Environment(
        dataset, Popularity.fit(dataset), ScriptedEngine(Letters(), dict(enumerate(texts))), Letters(), config
    )
    trajectories = run_episodes(examples, environment, greedy=True)
    space = _space(config)
    parts = reward_parts(trajectories, examples, space)
    weighed = dict(weights)
    found: list[Any] = [{name: np.round(parts[name], _DIGITS).tolist() for name in weighed}]
    for place, (trajectory, example) in enumerate(zip(trajectories, examples, strict=True)):
        own = {name: float(values[place]) for name, values in parts.items()}
        shares = step_rewards(trajectory, example, own, weighed, space)
        found.append({str(step): round(share, _DIGITS) for step, share in shares.items()})
    return found


def _texts() -> list[list[str]]:
    """What five policies write: one to four preferences, lists with and without the target, whole and broken."""

    def asks(text: str) -> str:
        return f"Perhaps.{TAGS.begin_preference}{text}{TAGS.end_preference}"

    def ranking(*items: int) -> str:
        return f"Now.{TAGS.end_think}\n{render_ranking(items, specimen().catalog)}"

    return [
        [asks("Tree"), ranking(4, 5, 6)],
        [asks("Herb; 1990s"), asks("Tree"), ranking(5, 7, 7)],
        [asks("Herb"), asks("Spice"), asks("unheard of"), asks("Tree; Herb"), ranking(1, 2, 3)],
        [asks("Herb"), asks("Herb"), asks("Spice"), ranking(5, 6)],
        [asks("Tree"), render_ranking((5, 6, 7), specimen().catalog)],
    ]


def _space(config: RolloutConfig) -> RewardSpace:
    catalog, rng = specimen().catalog, np.random.default_rng(1)
    return RewardSpace(
        catalog=catalog,
        encoder=_Words(),
        text_vectors=_units(rng, catalog.n_items),
        item_vectors=_units(rng, catalog.n_items),
        recommended=config.recommended,
    )


class _Words:
    """A TextEncoder that knows four words."""

    dim = 4
    fingerprint = "specimen"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The sum of the words' own axes, of unit length; zero for a text without any."""
        rows = np.array(
            [[word in text for word in ("Tree", "Herb", "Spice", "1990s")] for text in texts], np.float32
        )
        found: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1.0)
        return found


def _units(rng: np.random.Generator, n_items: int) -> NDArray[np.float64]:
    rows = rng.standard_normal((n_items + 1, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[0] = 0.0
    return rows
