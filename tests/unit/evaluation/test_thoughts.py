"""Truth of thoughts and distinctness of preferences, on cases worked out by hand."""

from __future__ import annotations

from deeprec.data.catalog import Catalog
from deeprec.evaluation.thoughts import distinct_within, shown_history, true_thoughts
from deeprec.types import Example, Item, StopReason, Trajectory, Turn

CATALOG = Catalog(
    (
        Item(1, "a", "Alien", "Alien (1979)", ("Sci-Fi", "Horror"), 1979),
        Item(2, "b", "Brush", "Brush", ("Hair Care",), None),
        Item(3, "c", "Comb", "Comb", ("Hair",), None),
    )
)
HISTORY = Example("u", (1, 2), 3)


def trajectory(*turns: tuple[str, str], shown: int = 2) -> Trajectory:
    lines = "\n".join(f"- {label}" for label in ("Alien (1979)", "Brush")[2 - shown :])
    return Trajectory(
        user_id="u",
        prompt_ids=(),
        response_ids=(),
        loss_mask=(),
        logprobs=(),
        prompt=f"History\n{lines}\n<think>\n",
        response="",
        turns=tuple(Turn(thought, preference) for thought, preference in turns),
        lines=(),
        ranking=(),
        stop_reason=StopReason.FINISHED,
        format_errors=(),
    )


def truth(*thoughts: str, shown: int = 2) -> float | None:
    return true_thoughts([trajectory(*((t, "x") for t in thoughts), shown=shown)], [HISTORY], CATALOG)


def test_all_named_phrases_must_belong_to_the_history() -> None:
    assert truth("Perhaps: sci-fi, 1970s.") == 1.0
    assert truth("Perhaps: Sci-Fi, Hair.") == 0.0  # Hair is the target's
    assert truth("Perhaps: Sci-Fi.", "Overall: Hair.") == 0.5


def test_the_longest_phrase_is_meant_and_words_are_whole() -> None:
    assert truth("Overall: Hair Care.") == 1.0
    assert truth("Overall: Hairy.") is None


def test_a_thought_that_names_nothing_is_neither_true_nor_false() -> None:
    assert truth("Perhaps: new.") is None
    assert truth("Perhaps: new.", "Overall: Horror.") == 1.0


def test_only_what_the_prompt_showed_counts() -> None:
    assert shown_history(trajectory(shown=1), HISTORY) == (2,)
    assert truth("Perhaps: Sci-Fi.", shown=1) == 0.0


def test_neither_case_nor_order_make_another_preference() -> None:
    asked = [("", "A; B"), ("", "b; a"), ("", "A")]
    assert distinct_within([trajectory(*asked), trajectory(("", "A"))]) == 3 / 4
    assert distinct_within([trajectory()]) is None
