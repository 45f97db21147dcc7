"""Episodes that join, leave and fail while others go on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from small_world import build_codec, build_dataset, explore, final_list, settings
from steered import Steered

from deeprec.config import PolicyConfig
from deeprec.errors import EngineError, RetrievalError
from deeprec.policy.tiny import build_tiny
from deeprec.rollout.engines.base import Engine
from deeprec.rollout.engines.local import LocalEngine
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.episode import Episode
from deeprec.rollout.loop import EpisodeLoop
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.trm.baselines import ItemKNN
from deeprec.types import Trajectory

DATASET = build_dataset()
CODEC = build_codec()
TESTED = DATASET.examples("test")
KNN = ItemKNN.fit(DATASET)
DIALOGUE = (explore("Action"), explore("Comedy"), final_list(("Heat", "Dune", "Up")))


def environment(engine: Engine, **changes: object) -> Environment:
    return Environment(DATASET, KNN, engine, CODEC, settings(**changes))


def scripted(**changes: object) -> Environment:
    return environment(ScriptedEngine(CODEC, dict.fromkeys(range(8), DIALOGUE)), **changes)


def episode(key: int, where: Environment) -> Episode:
    return Episode(key, TESTED[key], DATASET.catalog, CODEC, where.config, where.engine.context_length)


def keys(episodes: Sequence[Episode]) -> list[int]:
    return [one.key for one in episodes]


def test_episodes_join_and_leave_as_they_like() -> None:
    where = scripted()
    loop = EpisodeLoop(where, greedy=True)
    assert loop.step() == []
    loop.add(episode(0, where))
    assert keys(loop.step()) == []
    loop.add(episode(1, where))
    assert len(loop) == 2
    assert keys(loop.step()) == []
    assert keys(loop.step()) == [0]
    assert len(loop) == 1
    done = loop.step()
    assert keys(done) == [1]
    assert len(loop) == 0
    assert done[0].finish().lines == ("Heat", "Dune", "Up")
    assert loop.step() == []


def test_keys_in_flight_are_unique_and_free_afterwards() -> None:
    where = scripted()
    loop = EpisodeLoop(where, greedy=True)
    loop.add(episode(3, where))
    with pytest.raises(EngineError, match="episode 3: another one with this key is in flight"):
        loop.add(episode(3, where))
    assert loop.cancel(3)
    loop.add(episode(3, where))
    assert len(loop) == 1


def test_a_cancelled_episode_is_asked_no_more() -> None:
    where = scripted()
    loop = EpisodeLoop(where, greedy=True)
    for key in range(3):
        loop.add(episode(key, where))
    loop.step()
    assert loop.cancel(1)
    assert not loop.cancel(1)
    assert not loop.cancel(7)
    assert keys([*loop.step(), *loop.step()]) == [0, 2]
    assert len(loop) == 0


def test_watch_may_cancel_what_it_sees() -> None:
    """A reader who closes the stream at the first preference."""
    seen: list[tuple[int, str | None]] = []
    where = scripted()

    def watch(one: Episode) -> None:
        seen.append((one.key, one.preference))
        if one.key == 0:
            loop.cancel(0)

    loop = EpisodeLoop(where, greedy=True, watch=watch)
    loop.add(episode(0, where))
    loop.add(episode(1, where))
    loop.step()
    assert seen == [(0, "Action"), (1, "Action"), (1, None)]
    assert len(loop) == 1


class Failing:
    """A part that fails when it is told to, and is itself otherwise."""

    def __init__(self, part: object, method: str, error: Exception) -> None:
        self._part, self._method, self._error = part, method, error
        self.fails = False
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        found = getattr(self._part, name)
        if name != self._method:
            return found

        def call(*arguments: object, **options: object) -> object:
            self.calls += 1
            if self.fails:
                raise self._error
            return found(*arguments, **options)

        return call


def test_an_error_of_the_engine_changes_no_episode() -> None:
    engine = Failing(
        ScriptedEngine(CODEC, dict.fromkeys(range(8), DIALOGUE)), "generate", EngineError("no memory")
    )
    where = environment(engine)  # type: ignore[arg-type]
    loop = EpisodeLoop(where, greedy=True)
    for key in range(3):
        loop.add(episode(key, where))
    loop.step()
    engine.fails = True
    for _ in range(2):
        with pytest.raises(EngineError, match="no memory"):
            loop.step()
    engine.fails = False
    assert loop.cancel(2)
    done = [*loop.step(), *loop.step()]
    assert [one.finish() for one in done] == run_episodes(TESTED[:2], scripted(), greedy=True)


def test_after_an_error_of_the_trm_preferences_get_their_items_and_nothing_is_sampled_twice() -> None:
    retriever = Failing(KNN, "retrieve", RetrievalError("the index is away"))
    engine = Failing(ScriptedEngine(CODEC, dict.fromkeys(range(8), DIALOGUE)), "generate", EngineError(""))
    where = Environment(DATASET, retriever, engine, CODEC, settings())  # type: ignore[arg-type]
    loop = EpisodeLoop(where, greedy=True)
    for key in range(2):
        loop.add(episode(key, where))
    retriever.fails = True
    with pytest.raises(RetrievalError, match="the index is away"):
        loop.step()
    retriever.fails = False
    assert loop.step() == []  # the preferences of the first turn
    assert engine.calls == 1
    done = [*loop.step(), *loop.step()]
    assert [one.finish() for one in done] == run_episodes(TESTED[:2], scripted(), greedy=True)


@pytest.fixture(scope="module")
def local() -> LocalEngine:
    model = build_tiny(PolicyConfig(width=32, heads=2, key_value_heads=1, inner=64), CODEC.tokenizer, 3)
    return LocalEngine(model, seed=0)


def written(local: LocalEngine, joins: Sequence[int], *, greedy: bool) -> dict[int, Trajectory]:
    """Trajectories of all users, of whom `joins[step]` more join at each step, and the rest at the last."""
    where = environment(Steered(local), segment_tokens=12, response_tokens=160)
    local.reseed(5)
    loop = EpisodeLoop(where, greedy=greedy)
    found: dict[int, Trajectory] = {}
    waiting = list(range(len(TESTED)))
    for step in range(100):
        count = joins[step] if step < len(joins) else len(waiting)
        for key in waiting[:count]:
            loop.add(episode(key, where))
        del waiting[:count]
        found.update((one.key, one.finish()) for one in loop.step())
        if not waiting and not len(loop):
            return found
    raise AssertionError("episodes never end")


@pytest.mark.parametrize("greedy", [True, False])
def test_who_joins_in_mid_flight_writes_what_it_would_have_written_alone(
    local: LocalEngine, greedy: bool
) -> None:
    alone: dict[int, Trajectory] = {}
    for key in range(len(TESTED)):
        where = environment(Steered(local), segment_tokens=12, response_tokens=160)
        local.reseed(5)
        loop = EpisodeLoop(where, greedy=greedy)
        loop.add(episode(key, where))
        while not alone.get(key):
            alone.update((one.key, one.finish()) for one in loop.step())
    assert max(len(one.turns) for one in alone.values()) > 1
    for joins in ([8], [1, 0, 2, 1, 1]):
        found = written(local, joins, greedy=greedy)
        assert {key: one.response_ids for key, one in found.items()} == {
            key: one.response_ids for key, one in alone.items()
        }
        assert {key: one.turns for key, one in found.items()} == {
            key: one.turns for key, one in alone.items()
        }


def test_what_is_sampled_does_not_depend_on_users_per_batch(local: LocalEngine) -> None:
    found = []
    for size in (2, 5, 8):
        local.reseed(9)
        where = environment(Steered(local), segment_tokens=12, response_tokens=160, users_per_batch=size)
        found.append([one.response_ids for one in run_episodes(TESTED, where, greedy=False)])
    assert found[0] == found[1] == found[2]
