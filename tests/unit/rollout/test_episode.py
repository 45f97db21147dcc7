"""One trajectory: how it ends, what the mask covers, and that sampled ids stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from small_world import build_catalog, build_codec, explore, final_list, settings

from deeprec.config import RolloutConfig
from deeprec.errors import PolicyError
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Segment
from deeprec.rollout.episode import Episode, stop_sampling
from deeprec.rollout.protocol import render_items
from deeprec.rollout.tags import TAGS
from deeprec.trm.ranking import MAX_PREFERENCE
from deeprec.types import Example, StopReason, Trajectory

CATALOG = build_catalog()
EXAMPLE = Example("7", (4, 5, 6), 9, (1.0, 2.0, 3.0))
FOUND, SCORES = (1, 2, 3), (0.9, 0.8, 0.7)
END = "<|end_of_text|>"


class Letters:
    """A codec of single characters and a few longer pieces, tags among them.

    `encode` takes the longest piece that fits, so that `a`, `b` sampled one by one would
    come back as the single token `ab`.
    """

    eos_id = 0

    def __init__(self, *pieces: str) -> None:
        letters = [*TAGS.all, *(chr(code) for code in (10, *range(32, 127)))]
        self.vocabulary = [END, *sorted((*letters, *pieces), key=len, reverse=True)]
        self.tag_ids = {tag: self.vocabulary.index(tag) for tag in TAGS.all}

    def encode(self, text: str) -> list[int]:
        ids = []
        while text:
            ids.append(next(i for i, piece in enumerate(self.vocabulary) if text.startswith(piece)))
            text = text[len(self.vocabulary[ids[-1]]) :]
        return ids

    def encode_prompt(self, text: str, *, chat: bool) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.vocabulary[token] for token in ids)


def start(
    config: RolloutConfig | None = None,
    codec: Codec | None = None,
    context: int = 4096,
    example: Example = EXAMPLE,
) -> Episode:
    return Episode(3, example, CATALOG, codec or build_codec(), config or settings(), context)


def say(episode: Episode, text: str, *, stopped: bool = True, codec: Codec | None = None) -> tuple[int, ...]:
    """Feed a text as if it had been sampled; its ids."""
    ids = tuple((codec or build_codec()).encode(text))
    episode.feed(Segment(ids, (-0.25,) * len(ids), stopped))
    return ids


def run(*texts: str, config: RolloutConfig | None = None) -> Trajectory:
    episode = start(config)
    for text in texts:
        say(episode, text)
        if episode.preference is not None:
            episode.write_items(FOUND, SCORES)
    return episode.finish()


class TestStopReasons:
    def test_finished(self) -> None:
        done = run(explore("Action"), explore("Comedy"), final_list(("Aliens", "Alien", "Aliens", "Nowhere")))
        assert done.is_valid
        assert done.stop_reason is StopReason.FINISHED
        assert [(turn.preference, turn.retrieved, turn.scores) for turn in done.turns] == [
            ("Action", FOUND, SCORES),
            ("Comedy", FOUND, SCORES),
        ]
        assert done.lines == ("Aliens", "Alien", "Aliens", "Nowhere")
        assert done.ranking == (2, 1)  # a duplicate counts once, what is no item not at all
        assert done.pool == FOUND

    def test_finished_but_malformed(self) -> None:
        done = run(explore("Action"), final_list(thought=""))
        assert done.stop_reason is StopReason.FINISHED
        assert done.format_errors == ("no reasoning before the list",)
        assert not done.is_valid

    def test_an_error_of_an_early_turn_is_kept(self) -> None:
        done = run(explore("Action", "user: hi"), final_list())
        assert done.format_errors == ("role name",)

    def test_never_asked(self) -> None:
        done = run(final_list())
        assert (done.stop_reason, done.format_errors) == (StopReason.FINISHED, ("no retrieval",))

    def test_no_list(self) -> None:
        done = run(explore("Action"), f"I am done.{END}")
        assert done.stop_reason is StopReason.NO_LIST
        assert "no recommendation list" in done.format_errors

    @pytest.mark.parametrize("empty", ["", "  ", "; ;", "?!"])
    def test_empty_preference(self, empty: str) -> None:
        done = run(explore(empty))
        assert done.stop_reason is StopReason.EMPTY_PREFERENCE
        assert [(turn.preference, turn.retrieved) for turn in done.turns] == [(empty.strip(), ())]

    def test_a_preference_that_was_not_opened_is_empty(self) -> None:
        done = run(f"Action{TAGS.end_preference}")
        assert done.stop_reason is StopReason.EMPTY_PREFERENCE
        assert "preference not opened" in done.format_errors

    def test_a_preference_in_another_script_is_one(self) -> None:
        assert run(explore("映画"), final_list()).is_valid

    def test_retrieval_limit(self) -> None:
        done = run(explore("Action"), explore("Comedy"), explore("Crime"), config=settings(max_retrievals=2))
        assert done.stop_reason is StopReason.RETRIEVAL_LIMIT
        assert [turn.preference for turn in done.turns] == ["Action", "Comedy"]

    def test_segment_limit(self) -> None:
        episode = start(settings(segment_tokens=2))
        assert episode.request().max_new_tokens == 2
        say(episode, "AB", stopped=False)
        assert episode.finish().stop_reason is StopReason.SEGMENT_LIMIT

    def test_response_cap(self) -> None:
        episode = start(settings(segment_tokens=5, response_tokens=3))
        assert episode.request().max_new_tokens == 3
        say(episode, "ABC", stopped=False)
        assert episode.finish().stop_reason is StopReason.TOKEN_LIMIT

    def test_context_cap(self) -> None:
        prompt = len(start().request().context)
        episode = start(context=prompt + 2)
        assert episode.request().max_new_tokens == 2
        say(episode, "AB", stopped=False)
        assert episode.finish().stop_reason is StopReason.TOKEN_LIMIT

    def test_a_list_that_leaves_no_room_to_go_on(self) -> None:
        asked = len(build_codec().encode(explore("Action")))
        listed = len(build_codec().encode(render_items(FOUND, CATALOG)))
        for room, fits in ((asked + listed, False), (asked + listed + 1, True)):
            episode = start(settings(response_tokens=room))
            say(episode, explore("Action"))
            episode.write_items(FOUND, SCORES)
            assert episode.is_done is not fits
            if fits:
                assert episode.request().max_new_tokens == 1
            else:
                done = episode.finish()
                assert done.stop_reason is StopReason.TOKEN_LIMIT
                assert len(done.response_ids) == asked
                assert done.turns[0].retrieved == FOUND

    def test_a_runaway_preference_is_the_policys_mistake(self) -> None:
        episode = start(settings(segment_tokens=9000, response_tokens=9000), context=20_000)
        say(episode, explore("x " * MAX_PREFERENCE))
        assert episode.preference is not None
        assert len(episode.preference) == MAX_PREFERENCE
        episode.write_items(FOUND, SCORES)
        say(episode, final_list())
        assert episode.finish().format_errors == ("preference longer than 2000 characters",)


class TestIds:
    def test_the_mask_covers_what_was_sampled_and_nothing_else(self) -> None:
        episode = start()
        prompt = episode.request().context
        first = say(episode, explore("Action"))
        episode.write_items(FOUND, SCORES)
        context = episode.request().context
        listed = context[len(prompt) + len(first) :]
        last = say(episode, final_list())
        done = episode.finish()
        assert context[: len(prompt) + len(first)] == prompt + first  # only ever grows
        assert done.prompt_ids == prompt
        assert done.response_ids == first + listed + last
        assert done.loss_mask == (1,) * len(first) + (0,) * len(listed) + (1,) * len(last)
        assert done.logprobs == tuple(-0.25 * sampled for sampled in done.loss_mask)
        text = build_codec().decode(listed)
        assert text == "\n<|begin_of_item_list|>\n1. Alien\n2. Aliens\n3. Alien 3\n<|end_of_item_list|>\n"
        assert done.response == explore("Action") + text + final_list()

    def test_sampled_ids_are_never_encoded_again(self) -> None:
        codec = Letters("ab")
        single = [codec.encode(letter)[0] for letter in "ab"]
        assert codec.encode("ab") not in ([single[0]], single)  # encoding again would merge them
        sampled = (*single, *codec.encode(f"{TAGS.begin_preference}Action{TAGS.end_preference}"))
        episode = start(codec=codec)
        prompt = episode.request().context
        episode.feed(Segment(sampled, (-1.0,) * len(sampled), stopped=True))
        episode.write_items(FOUND, SCORES)
        assert episode.request().context[len(prompt) :][: len(sampled)] == sampled
        last = say(episode, final_list(), codec=codec)
        done = episode.finish()
        assert done.response_ids[: len(sampled)] == sampled
        assert done.response_ids[-len(last) :] == last
        assert done.is_valid

    def test_the_target_reaches_no_request(self) -> None:
        seen = set()
        for target in (0, 9, 10):
            episode = start(example=Example("7", EXAMPLE.history, target, EXAMPLE.ratings))
            say(episode, explore("Action"))
            episode.write_items(FOUND, SCORES)
            seen.add(episode.request())
        assert len(seen) == 1

    def test_a_prompt_that_fills_the_context_is_refused(self) -> None:
        size = len(start().request().context)
        with pytest.raises(PolicyError, match=rf"user '7': the prompt has {size} tokens.*rollout\.history"):
            start(context=size)
        assert start(context=size + 1).request().max_new_tokens == 1


class TestSampling:
    def test_stops_at_tags_and_at_the_end_of_the_text(self) -> None:
        codec = build_codec()
        sampling = stop_sampling(codec, settings(temperature=0.7, top_p=0.9), greedy=False)
        assert sampling.stop_ids == {
            codec.eos_id, codec.tag_ids[TAGS.end_preference], codec.tag_ids[TAGS.end_list]
        }  # fmt: skip
        assert (sampling.temperature, sampling.top_p, sampling.max_new_tokens) == (0.7, 0.9, 200)
        assert stop_sampling(codec, settings(temperature=0.7), greedy=True).temperature == 0.0


class TestMisuse:
    def test_items_nobody_waits_for(self) -> None:
        with pytest.raises(ValueError, match="episode 3: no preference is waiting"):
            start().write_items(FOUND, SCORES)

    def test_items_a_second_time(self) -> None:
        episode = start()
        say(episode, explore("Action"))
        episode.write_items(FOUND, SCORES)
        with pytest.raises(ValueError, match="no preference is waiting"):
            episode.write_items(FOUND, SCORES)

    def test_finished_too_early(self) -> None:
        episode = start()
        with pytest.raises(ValueError, match="not done yet"):
            episode.finish()
        say(episode, explore("Action"))
        with pytest.raises(ValueError, match="not done yet"):
            episode.finish()

    def test_fed_while_waiting_or_done(self) -> None:
        episode = start()
        say(episode, explore("Action"))
        with pytest.raises(ValueError, match="can't be fed"):
            say(episode, final_list())
        episode.write_items(FOUND, SCORES)
        say(episode, final_list())
        with pytest.raises(ValueError, match="can't be fed"):
            say(episode, final_list())

    def test_finishing_twice_gives_the_same(self) -> None:
        episode = start()
        say(episode, final_list())
        assert episode.finish() == episode.finish()
