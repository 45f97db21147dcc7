"""One list, one prompt, one ranking: what is read, what gets a loss, and what is made of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from small_world import N_USERS, build_codec, build_dataset, settings

from deeprec.config import PolicyConfig
from deeprec.errors import PolicyError, TrainingError
from deeprec.policy.tiny import build_tiny
from deeprec.rivals.one_shot.lessons import copy_tasks, lesson_tasks, list_documents, with_target_listed
from deeprec.rivals.one_shot.prompts import build_tasks, plain_lists, render_one_shot
from deeprec.rivals.one_shot.ranker import rank_tasks
from deeprec.rivals.one_shot.recommender import OneShotRecommender
from deeprec.rollout.engines.base import Engine
from deeprec.rollout.engines.local import LocalEngine
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.environment import Environment
from deeprec.rollout.lists import ListWriter
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.types import StopReason

DATASET, CODEC = build_dataset(), build_codec()
EXAMPLES = DATASET.examples("test")
SIZES = PolicyConfig(width=32, heads=2, key_value_heads=1, inner=64)


def environment(engine: Engine | None = None, **changes: object) -> Environment:
    engine = engine or LocalEngine(build_tiny(SIZES, CODEC.tokenizer, 0), seed=0)
    return Environment(DATASET, ItemKNN.fit(DATASET), engine, CODEC, settings(**changes))


def written(lines: Sequence[str], end: str = TAGS.end_list) -> str:
    return f"{TAGS.begin_list}\n" + "\n".join(f"{n}. {line}" for n, line in enumerate(lines, 1)) + f"\n{end}"


def reciting(text: str, users: int = N_USERS) -> Environment:
    return environment(ScriptedEngine(CODEC, {key: [text] * 2 for key in range(users)}))


def test_the_prompt_is_the_history_and_the_list() -> None:
    example = replace(EXAMPLES[0], history=(1, 2, 3), ratings=(), timestamps=())
    assert render_one_shot(example, (4, 5), DATASET, settings()) == (
        f"History\n- Alien\n- Aliens\n- Alien 3\n{TAGS.begin_items}\n1. Brazil\n2. Casino\n{TAGS.end_items}\n"
    )


def test_the_full_prompt_says_how_many_to_write() -> None:
    text = render_one_shot(
        EXAMPLES[0], (4, 5, 6, 7), DATASET, settings(template="full", prompt_fields=("profile",))
    )
    assert "listed 4 items" in text
    assert "the best 3 of them" in text
    assert "The user: age: 25-34" in text
    assert text.endswith(f"4. Gattaca\n{TAGS.end_items}\n".replace("Gattaca", DATASET.catalog[7].label))


def test_the_list_is_the_plain_one_without_what_the_user_had() -> None:
    trm = ItemKNN.fit(DATASET)
    for example, found in zip(EXAMPLES, plain_lists(EXAMPLES, DATASET, trm, 5), strict=True):
        plain = trm.retrieve([example.history], k=5, exclude=[example.history]).item_indices[0]
        assert found == tuple(plain)


def test_a_small_catalogue_gives_a_shorter_list() -> None:
    whole = replace(EXAMPLES[0], history=tuple(range(1, 29)))
    full = replace(EXAMPLES[0], history=tuple(range(1, 31)))
    lists = plain_lists([whole, full, EXAMPLES[1]], DATASET, Popularity.fit(DATASET), 5)
    assert [len(found) for found in lists] == [2, 0, 5]


def test_no_prompt_depends_on_its_target() -> None:
    place = environment()
    others = [replace(example, target=example.target % 30 + 1) for example in EXAMPLES]
    assert [task.prompt for task in build_tasks(EXAMPLES, place)] == [
        task.prompt for task in build_tasks(others, place)
    ]


def test_a_target_stands_in_a_prompt_only_where_the_trm_listed_it() -> None:
    """Planted: a target that the TRM never lists, and one that it always does."""
    place = environment(retrieved=8)
    for example in DATASET.examples("rl"):
        planted = replace(example, target=plain_lists([example], DATASET, place.retriever, 8)[0][0])
        unlisted, listed = build_tasks([example, planted], place)
        assert example.target not in unlisted.candidates
        assert DATASET.catalog[example.target].label not in unlisted.prompt.splitlines()
        assert with_target_listed([unlisted, listed]) == [listed]
        shown = {line.split(" ", 1)[1] for line in unlisted.prompt.splitlines() if " " in line}
        labels = {DATASET.catalog[item].label for item in (*example.history, *unlisted.candidates)}
        assert shown <= labels


def test_the_loss_is_on_the_list_alone_and_the_target_stands_first() -> None:
    place = environment()
    task = build_tasks(EXAMPLES[:1], place)[0]
    third = replace(task, example=replace(task.example, target=task.candidates[2]))
    document = list_documents([third], place)[0]
    length = len(task.prompt_ids)
    assert document.ids[:length] == task.prompt_ids
    assert document.mask == (0,) * length + (1,) * (len(document.ids) - length)
    order = [task.candidates[2], task.candidates[0], task.candidates[1]]
    assert CODEC.decode(document.ids[length:]) == written([DATASET.catalog[item].label for item in order])


def test_without_a_listed_target_the_first_title_carries_no_loss() -> None:
    place = environment()
    task = build_tasks(EXAMPLES[:1], place)[0]
    document = list_documents([task], place)[0]
    assert task.example.target not in task.candidates
    response = list(zip(document.ids, document.mask, strict=True))[len(task.prompt_ids) :]
    first = DATASET.catalog[task.candidates[0]].label
    assert CODEC.decode([token for token, wanted in response if not wanted]) == first
    assert sum(wanted for _, wanted in response) == len(response) - len(CODEC.encode(first))


def test_in_the_trms_order_no_target_leaves_a_trace() -> None:
    place = environment()
    task = build_tasks(EXAMPLES[:1], place)[0]
    listed = replace(task, example=replace(task.example, target=task.candidates[2]))
    plain, unmoved = list_documents([task, listed], place, target_first=False)
    assert unmoved == plain
    assert list_documents([listed], place) != [plain]


def test_lists_to_copy_know_no_target() -> None:
    assert {task.example.target for task in copy_tasks(environment(), 20, seed=0)} == {0}


def test_everything_that_was_sampled_is_masked_in_and_kept_as_it_was() -> None:
    place = environment(segment_tokens=40)
    tasks = build_tasks(EXAMPLES, place)
    for task, found in zip(tasks, rank_tasks(tasks, place, greedy=False), strict=True):
        assert found.prompt_ids == task.prompt_ids
        assert found.loss_mask == (1,) * len(found.response_ids)
        assert len(found.logprobs) == len(found.response_ids)
        assert found.turns == ()


def test_a_whole_list_is_a_valid_answer() -> None:
    place = reciting(written(["Brazil", "Casino", "Alien"]))
    found = rank_tasks(build_tasks(EXAMPLES, place), place, greedy=True)
    assert {one.ranking for one in found} == {(4, 5, 1)}
    assert all(one.is_valid and one.stop_reason is StopReason.FINISHED for one in found)


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("Casino, then Brazil." + "<|end_of_text|>", StopReason.NO_LIST),
        (f"{TAGS.begin_preference}Action{TAGS.end_preference}", StopReason.NO_LIST),
        (f"Well. {written(['Brazil'])}", StopReason.FINISHED),
        (written([f"Brazil{TAGS.begin_items}"]), StopReason.FINISHED),
    ],
)
def test_a_broken_list_is_a_miss(text: str, stop: StopReason) -> None:
    place = reciting(text)
    found = rank_tasks(build_tasks(EXAMPLES, place), place, greedy=True)[0]
    assert found.stop_reason is stop
    assert not found.is_valid
    answer = OneShotRecommender("llm", place).recommend(EXAMPLES, 3)[0]
    assert (answer.ranking, answer.is_valid) == ((), False)
    assert answer.reason


def test_the_answer_says_what_it_cost_and_never_has_a_known_item() -> None:
    example = EXAMPLES[0]
    known = DATASET.catalog[example.history[0]].label
    text = written([known, "Xanadu", "No such film", "Xanadu"])
    answer = OneShotRecommender("llm", reciting(text)).recommend([example], 3)[0]
    assert answer.ranking == (26,)
    assert answer.tokens == len(CODEC.encode(text))
    assert answer.trajectory is None


def test_the_trm_fills_in_only_when_asked() -> None:
    place = reciting(written(["Xanadu"]), users=1)
    filled = OneShotRecommender("llm", place, fill_in=True).recommend(EXAMPLES[:1], 3)[0]
    assert filled.ranking[0] == 26
    assert len(filled.ranking) == 3
    assert filled.reason == "the list holds 1 of 3 items"


@pytest.mark.parametrize("ranking", ["score", "constrained"])
def test_by_likelihood_every_item_is_a_candidate(ranking: str) -> None:
    place = environment()
    tasks = build_tasks(EXAMPLES, place)
    writer = ListWriter(build_tiny(SIZES, CODEC.tokenizer, 0), CODEC, DATASET.catalog)
    ranked = rank_tasks(tasks, place, greedy=True, ranking=ranking, writer=writer)
    for task, found in zip(tasks, ranked, strict=True):
        assert len(found.ranking) == 3
        assert set(found.ranking) <= set(task.candidates)
        assert not any(found.loss_mask)


def test_it_shows_what_it_read_and_wrote() -> None:
    text = OneShotRecommender("llm", reciting(written(["Xanadu", "Brazil"]))).explain(EXAMPLES[0])
    task = build_tasks(EXAMPLES[:1], environment())[0]
    assert task.prompt.rstrip() in text
    assert written(["Xanadu", "Brazil"]) in text
    assert "1. Xanadu (not among the candidates)" in text
    assert "a miss" in OneShotRecommender("llm", reciting("<|end_of_text|>")).explain(EXAMPLES[0])


def test_a_context_that_is_too_small_says_what_to_lower() -> None:
    model = build_tiny(SIZES, CODEC.tokenizer, 0)
    place = environment(LocalEngine(model, seed=0, context_length=24))
    with pytest.raises(
        PolicyError, match=r"reads 24 tokens at most; lower rivals\.one_shot\.candidates \(5\)"
    ):
        build_tasks(EXAMPLES, place)
    with pytest.raises(PolicyError, match=r"rollout\.segment_tokens \(4\)"):
        build_tasks(EXAMPLES, environment(segment_tokens=4))


def test_targets_that_no_list_holds_teach_nothing() -> None:
    with pytest.raises(TrainingError, match=r"none of 8 RL targets is among the TRM's 5 candidates"):
        lesson_tasks(DATASET, environment())
