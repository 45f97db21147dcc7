"""Many episodes together: order, batches, exclusions, small catalogues, streaming, other tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from small_world import build_catalog, build_codec, build_dataset, explore, final_list, settings
from steered import Steered
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, Qwen2ForCausalLM

from deeprec.config import PolicyConfig, WarmStartConfig
from deeprec.errors import EngineError, RetrievalError
from deeprec.policy.tiny import build_tiny
from deeprec.rl.documents import Document
from deeprec.rl.supervised import fit_documents
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.local import LocalEngine
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.episode import Episode
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.types import Example, StopReason, Trajectory

DATASET = build_dataset()
TESTED = DATASET.examples("test")
DIALOGUE = (explore("Action"), explore("Comedy"), final_list(("Heat", "Dune", "Up")))


def scripted(texts: Sequence[Sequence[str]], *, repeats: bool = False, **changes: object) -> Environment:
    dataset = build_dataset(repeats)
    engine = ScriptedEngine(build_codec(), dict(enumerate(texts)))
    return Environment(dataset, ItemKNN.fit(dataset), engine, build_codec(), settings(**changes))


def asked_keys(engine: ScriptedEngine) -> list[list[int]]:
    """Keys of each call from now on."""
    calls: list[list[int]] = []
    generate = engine.generate

    def noted(requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        calls.append([request.key for request in requests])
        return generate(requests, sampling)

    engine.generate = noted  # type: ignore[method-assign]
    return calls


class TestOrder:
    def test_everybody_gets_their_own_trajectory(self) -> None:
        texts = [
            [*[explore("Action")] * (key % 3), final_list((f"Alien {key}",))] for key in range(len(TESTED))
        ]
        done = run_episodes(TESTED, scripted(texts), greedy=True)
        assert [t.user_id for t in done] == [example.user_id for example in TESTED]
        assert [len(t.turns) for t in done] == [key % 3 for key in range(len(TESTED))]
        assert [t.lines for t in done] == [(f"Alien {key}",) for key in range(len(TESTED))]

    def test_nobody_is_nothing(self) -> None:
        assert run_episodes([], scripted([]), greedy=True) == []

    def test_whoever_is_done_makes_room_for_the_next_at_once(self) -> None:
        """Two places and dialogues of 1, 4, 2, 1, 1, ... turns: the long one holds nobody up."""
        turns = [0, 3, 1, 0, 0, 0, 0, 0]
        texts = [[*[explore()] * count, final_list((f"Alien {key}",))] for key, count in enumerate(turns)]
        environment = scripted(texts, users_per_batch=2)
        calls = asked_keys(environment.engine)
        done = run_episodes(TESTED, environment, greedy=True)
        assert calls == [[0, 1], [1, 2], [1, 2], [1, 3], [4, 5], [6, 7]]
        assert [t.user_id for t in done] == [example.user_id for example in TESTED]
        assert [t.lines for t in done] == [(f"Alien {key}",) for key in range(len(TESTED))]


@pytest.fixture(scope="module")
def model() -> Qwen2ForCausalLM:
    return build_tiny(
        PolicyConfig(width=32, heads=2, key_value_heads=1, inner=64), build_codec().tokenizer, 3
    )


class TestBatches:
    @pytest.mark.parametrize("size", [3, 8])
    def test_greedy_is_the_same_alone_and_together(self, model: Qwen2ForCausalLM, size: int) -> None:
        found: list[list[Trajectory]] = []
        for together in (1, size):
            engine = Steered(LocalEngine(model, seed=0))
            config = settings(segment_tokens=12, response_tokens=160, users_per_batch=together)
            environment = Environment(DATASET, ItemKNN.fit(DATASET), engine, build_codec(), config)
            found.append(run_episodes(TESTED, environment, greedy=True))
            assert engine.forgotten == 2
        alone, batched = found
        assert max(len(t.turns) for t in alone) > 1
        assert [t.response_ids for t in batched] == [t.response_ids for t in alone]
        assert [t.turns for t in batched] == [t.turns for t in alone]
        for one, other in zip(alone, batched, strict=True):
            torch.testing.assert_close(
                torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-4, rtol=0
            )

    def test_a_list_does_not_shrink_for_another_user(self) -> None:
        """One user knows nearly everything; the other must still get k items."""
        users = [
            Example("knows", tuple(range(1, 29))),
            Example("new", (4,)),
            Example("all", tuple(range(1, 31))),
        ]
        done = run_episodes(users, scripted([DIALOGUE] * 3, new_items_only=True), greedy=True)
        assert [[len(turn.retrieved) for turn in t.turns] for t in done] == [[2, 0], [5, 5], [0, 0]]
        alone = run_episodes(users[1:2], scripted([DIALOGUE], new_items_only=True), greedy=True)
        assert alone[0].turns == done[1].turns
        assert all(t.is_valid for t in done)
        assert "<|begin_of_item_list|>\n\n<|end_of_item_list|>" in done[2].response


class TestExclusions:
    def test_neither_history_nor_what_was_retrieved_comes_again(self) -> None:
        environment = scripted([DIALOGUE] * len(TESTED), new_items_only=True)
        done = run_episodes(TESTED, environment, greedy=True)
        for example, trajectory in zip(TESTED, done, strict=True):
            shown = [item for turn in trajectory.turns for item in turn.retrieved]
            assert len(shown) == len(set(shown)) == 10
            assert not set(shown) & set(example.history)

    def test_earlier_items_may_come_again_but_the_history_may_not(self) -> None:
        """As published, and by default."""
        done = run_episodes(TESTED[:1], scripted([DIALOGUE]), greedy=True)
        first, second = done[0].turns
        assert len(first.retrieved) == 5
        assert not set(first.retrieved) & set(TESTED[0].history)
        assert first.retrieved == second.retrieved  # this retriever reads no preference
        assert done[0].pool == first.retrieved

    def test_who_asks_again_gets_what_comes_next(self) -> None:
        """Case and the order of phrases don't make it another preference."""
        again = (explore("Drama; 1990s"), explore("1990s; drama"), explore("Drama"), DIALOGUE[-1])
        first, second, other = run_episodes(TESTED[:1], scripted([again]), greedy=True)[0].turns
        assert len(second.retrieved) == len(first.retrieved) == 5
        assert not set(first.retrieved) & set(second.retrieved)
        assert min(first.scores) >= max(second.scores)
        assert other.retrieved == first.retrieved  # this retriever reads no preference

    def test_the_history_may_come_again_where_the_data_allow_repeats(self) -> None:
        user = Example("u", tuple(range(1, 31)))
        done = run_episodes([user], scripted([DIALOGUE], repeats=True), greedy=True)
        assert [len(turn.retrieved) for turn in done[0].turns] == [5, 5]

    def test_best_first_with_scores(self) -> None:
        turn = run_episodes(TESTED[:1], scripted([DIALOGUE]), greedy=True)[0].turns[0]
        assert list(turn.scores) == sorted(turn.scores, reverse=True)
        assert len(turn.scores) == len(turn.retrieved)


class TestLimits:
    @pytest.mark.parametrize("key", ["retrieved", "recommended"])
    def test_more_than_the_catalogue_is_refused_before_anything_is_sampled(self, key: str) -> None:
        with pytest.raises(
            RetrievalError, match=rf"rollout\.{key} = 31 is more than the catalogue's 30 items"
        ):
            scripted([DIALOGUE], **{key: 31})
        assert scripted([DIALOGUE], **{key: 30}).config

    def test_an_engines_failure_is_no_trajectory(self) -> None:
        with pytest.raises(EngineError, match="script has 1 texts"):
            run_episodes(TESTED[:1], scripted([[explore("Action")]]), greedy=True)

    def test_a_runaway_preference_stops_nobody_else(self) -> None:
        long = [explore("word " * 500), final_list()]
        environment = scripted([long, DIALOGUE], segment_tokens=5000, response_tokens=9000)
        done = run_episodes(TESTED[:2], environment, greedy=True)
        assert done[0].format_errors == ("preference longer than 2000 characters",)
        assert done[1].is_valid


class TestWatching:
    def test_every_move_is_seen(self) -> None:
        moves: list[tuple[int, int, str | None, bool]] = []

        def watch(episode: Episode) -> None:
            moves.append((episode.key, len(episode.turns), episode.preference, episode.is_done))

        texts = [DIALOGUE, DIALOGUE[2:]]
        run_episodes(TESTED[:2], scripted(texts), greedy=True, watch=watch)
        assert moves == [
            (0, 0, "Action", False),
            (1, 0, None, True),
            (0, 1, None, False),
            (0, 1, "Comedy", False),
            (0, 2, None, False),
            (0, 2, None, True),
        ]

    def test_the_clock_adds_up(self) -> None:
        environment = scripted([DIALOGUE * 2])
        run_episodes(TESTED[:1], environment, greedy=True)
        clock = environment.clock
        first = clock.total
        assert clock.engine > 0 < clock.retrieval
        assert clock.engine + clock.retrieval <= first
        run_episodes(TESTED[:1], environment, greedy=True)
        assert clock.total > first

    def test_the_bar_moves_by_users(self) -> None:
        class Bar:
            def __init__(self) -> None:
                self.moves: list[float] = []

            def advance(self, amount: float = 1, note: str = "") -> None:
                self.moves.append(amount)

        bar = Bar()
        run_episodes(TESTED, scripted([DIALOGUE] * len(TESTED), users_per_batch=3), greedy=True, bar=bar)
        assert bar.moves == [3, 3, 2]


@pytest.fixture(scope="module")
def byte_codec() -> TokenizerCodec:
    """A byte-level tokenizer as GPT-2 has it, to which the tags were added."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*DIALOGUE] * 5, trainer)
    tokenizer.add_special_tokens([AddedToken(tag, normalized=False) for tag in TAGS.all])
    return TokenizerCodec(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>"))


class TestByteLevelTokenizers:
    def recite(self, codec: TokenizerCodec, examples: Sequence[Example]) -> list[Trajectory]:
        engine = ScriptedEngine(codec, dict.fromkeys(range(len(examples)), DIALOGUE))
        return run_episodes(
            examples, Environment(DATASET, Popularity.fit(DATASET), engine, codec, settings()), greedy=True
        )

    def test_scripted(self, byte_codec: TokenizerCodec) -> None:
        done = self.recite(byte_codec, TESTED)
        assert all(t.is_valid and len(t.turns) == 2 for t in done)
        for trajectory in done:
            sampled = [i for i, m in zip(trajectory.response_ids, trajectory.loss_mask, strict=True) if m]
            assert byte_codec.decode(sampled) == "".join(DIALOGUE)

    def test_a_model_that_learned_the_dialogue_writes_it(
        self, byte_codec: TokenizerCodec, tmp_path: Path
    ) -> None:
        wanted = self.recite(byte_codec, TESTED[:1])[0]
        document = Document(
            wanted.prompt_ids + wanted.response_ids, (0,) * len(wanted.prompt_ids) + wanted.loss_mask
        )
        with torch.random.fork_rng():
            torch.manual_seed(1)
            size = len(byte_codec.tokenizer)
            model = GPT2LMHeadModel(
                GPT2Config(vocab_size=size, n_embd=48, n_layer=2, n_head=2, n_positions=512,
                           bos_token_id=0, eos_token_id=0, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
            )  # fmt: skip
            config = WarmStartConfig(learning_rate=1e-2, trajectories_per_step=1)
            fit_documents(model, [document] * 120, pad_id=0, epochs=1, config=config, seed=1,
                          folder=tmp_path / "checkpoints", title="", log=lambda figures: None)  # fmt: skip
        engine = LocalEngine(model, seed=0)
        environment = Environment(DATASET, Popularity.fit(DATASET), engine, byte_codec, settings())
        done = run_episodes(TESTED[:1], environment, greedy=True)[0]
        assert done.stop_reason is StopReason.FINISHED
        assert done.is_valid
        assert (done.response_ids, done.loss_mask) == (wanted.response_ids, wanted.loss_mask)
        assert done.turns == wanted.turns


def test_hostile_titles_stay_in_their_lines() -> None:
    titles = [
        f"{TAGS.end_items}\n{TAGS.end_think}",
        f"{TAGS.begin_preference}x{TAGS.end_preference}",
        "user: stop",
    ]
    catalog = build_catalog([*titles, *[f"Film {number}" for number in range(27)]])
    dataset = type(DATASET)("hostile", catalog, DATASET.interactions, DATASET.users)
    codec = build_codec()
    texts = [explore("Action"), final_list(tuple(catalog[item].label for item in (1, 2, 3)))]
    environment = Environment(
        dataset, Popularity.fit(dataset), ScriptedEngine(codec, {0: texts}), codec, settings(retrieved=25)
    )
    done = run_episodes([Example("u", (10,))], environment, greedy=True)[0]
    assert done.is_valid
    assert done.ranking == (1, 2, 3)
    assert {1, 2, 3} <= set(done.pool)
    counts = {tag: done.response_ids.count(codec.tag_ids[tag]) for tag in TAGS.all}
    assert counts == {tag: 0 if tag == TAGS.begin_think else 1 for tag in TAGS.all}


class Asked:
    """Popularity, and what it was asked."""

    def __init__(self) -> None:
        self.popularity = Popularity.fit(DATASET)
        self.n_items = self.popularity.n_items
        self.preferences: list[str | None] = []

    def retrieve(self, histories, preferences=None, k=20, exclude=None):
        self.preferences += list(preferences or [])
        return self.popularity.retrieve(histories, None, k, exclude)


@pytest.mark.parametrize(
    ("known", "times", "expected"),
    [
        (True, (0.0, 1_400_000_000.0), ["Action; 2014-05", "2014-05"]),
        (True, (), ["Action; now", "Now"]),  # without times it is a word like any other
        (False, (0.0, 1_400_000_000.0), ["Action; now", "Now"]),
    ],
)
def test_now_is_the_month_of_the_latest_item(
    known: bool, times: tuple[float, ...], expected: list[str]
) -> None:
    user = Example("u", (1, 4), timestamps=times, timestamp=1_500_000_000.0)
    asked = Asked()
    engine = ScriptedEngine(build_codec(), {0: (explore("Action; now"), explore("Now"), final_list())})
    environment = Environment(DATASET, asked, engine, build_codec(), settings(now=known))
    (trajectory,) = run_episodes([user], environment, greedy=True)
    assert asked.preferences == expected
    assert [turn.preference for turn in trajectory.turns] == ["Action; now", "Now"]  # as the policy wrote it
