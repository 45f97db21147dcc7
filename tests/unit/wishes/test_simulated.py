"""Simulated wishes: true, of every kind, in two halves of sentences, and never a word of the target's title."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small_world import CATEGORIES, build_dataset

from deeprec.config import WishesConfig
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.trm.mentions import MentioningTRM
from deeprec.trm.phrases import item_phrases, split_phrases
from deeprec.wishes.forms import KINDS, TALK, Sentences, sentences
from deeprec.wishes.held_out import NEW_VAGUE
from deeprec.wishes.rule import WishRule
from deeprec.wishes.simulated import Wish, Wisher, rng_for, with_wishes
from deeprec.wishes.together import Together
from deeprec.wishes.words import COMMON, FUNCTION_WORDS, VAGUE, misspell, title_words, words

WHICH: tuple[Sentences, ...] = ("training", "validation", "held-out", "new-words")


@cache
def world() -> Dataset:
    """The small world, with two categories an item."""
    items = [
        replace(
            item, categories=(*item.categories, CATEGORIES[(item.item_index + 1 + item.item_index % 2) % 4])
        )
        for item in build_dataset().catalog.items
    ]
    return replace(build_dataset(), catalog=Catalog(tuple(items)))


def all_wishes(kind: str, which: Sentences = "training", *, misleading: bool = False) -> list[Wish]:
    """Twenty by everybody of each part with targets."""
    wisher, rng = Wisher(world()), np.random.default_rng(0)
    examples = [example for part in ("rl", "validation", "test") for example in world().examples(part)]
    found = [
        wisher.wish(example, rng, kind, which=which, misleading=misleading)
        for example in examples
        for _ in range(20)
    ]
    return [wish for wish in found if wish is not None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", WHICH)
def test_every_kind_can_be_said_and_is_true(kind: str, which: Sentences) -> None:
    found = all_wishes(kind, which)
    assert len({wish.text for wish in found}) >= 10
    for wish in found:
        phrases, own = split_phrases(wish.meant), set(item_phrases(world().catalog[wish.about]))
        assert {phrase for phrase in phrases if phrase in own} or kind in ("like", "newer")
        assert not wish.excluded or (wish.excluded not in own and f"not {wish.excluded}" in phrases)


@pytest.mark.parametrize("kind", KINDS)
def test_no_wish_holds_a_word_of_the_target_s_title_or_names_what_the_user_is_yet_to_have(kind: str) -> None:
    wisher, rng = Wisher(world()), np.random.default_rng(1)
    for part in ("rl", "validation", "test"):
        for example in world().examples(part):
            items = world().known_history(example.user_id).history
            later = set(items) - set(example.history)
            for misleading in (False, True):
                wish = wisher.wish(example, rng, kind, misleading=misleading)
                if wish is None:
                    continue
                assert not words(wish.text) & title_words(world().catalog[example.target])
                for item in later:
                    assert world().catalog[item].label not in wish.text.replace(",", " ").split()
                assert (wish.about == example.target) is not misleading


def test_a_misleading_one_shares_no_category_with_the_target() -> None:
    wisher, rng = Wisher(world()), np.random.default_rng(2)
    example = world().examples("test")[0]
    own = set(world().catalog[example.target].categories)
    for _ in range(50):
        wish = wisher.wish(example, rng, "category", misleading=True)
        assert wish is not None
        assert own.isdisjoint(split_phrases(wish.meant))


def test_titles_that_go_together_are_counted_in_the_fit_part_alone() -> None:
    """Items 1 to 20 are the fit part's: no other can be a neighbour."""
    together = Together(world())
    assert all(set(together.of(item)) <= set(range(1, 21)) - {item} for item in range(1, 31))
    assert together.of(1)
    assert not together.of(30)


@pytest.mark.parametrize("kind", [*KINDS, TALK])
def test_no_sentence_is_said_twice(kind: str) -> None:
    """Neither in training and evaluation, nor where something was chosen and where it is measured."""
    found = [sentences(kind, which) for which in WHICH]
    assert sum(map(len, found)) == len(set().union(*found))
    assert min(map(len, found)) >= 3


def test_wishes_of_training_are_none_of_the_evaluation() -> None:
    said = [frozenset(wish.text for wish in all_wishes("category", which)) for which in WHICH]
    assert sum(map(len, said)) == len(set().union(*said))


def test_new_words_are_new() -> None:
    """Each sentence has a word that training never says; vague words share none with those of training."""
    known = {
        word for kind in (*KINDS, TALK) for text in sentences(kind, "training") for word in text_words(text)
    }
    known |= {word for text in (*COMMON, *FUNCTION_WORDS) for word in text_words(text)}
    for kind in (*KINDS, TALK):
        for text in sentences(kind, "new-words"):
            assert text_words(text) - known, text
    vague = {word for said in VAGUE.values() for text in said for word in text_words(text)} - {
        "about",
        "full",
        "with",
        "and",
    }
    for said in NEW_VAGUE.values():
        for text in said:
            assert not text_words(text) & vague, text


def text_words(text: str) -> set[str]:
    return set(words(text)) - {"a", "b", "d", "t", "n"}


def test_vague_words_and_slips_name_no_category() -> None:
    for wish in [*all_wishes("vague"), *all_wishes("misspelt")]:
        assert not words(wish.text) & {category.lower() for category in CATEGORIES}
    spoken = Counter(word for table in (VAGUE, NEW_VAGUE) for known in table.values() for word in known)
    assert max(spoken.values()) == 1  # a word means one category
    assert set(VAGUE) == set(NEW_VAGUE)
    assert all(misspell("musical", np.random.default_rng(seed)) != "musical" for seed in range(30))


def test_who_says_what_depends_on_the_seed_the_user_and_the_target_alone() -> None:
    config, examples = WishesConfig(share=0.5), world().examples("rl")
    first = with_wishes(examples, world(), config, 3)
    assert with_wishes(examples[::-1], world(), config, 3) == list(first[::-1])
    assert with_wishes(examples, world(), config, 4) != first
    assert rng_for(1, examples[0]).random() != rng_for(1, examples[1]).random()


def test_none_leaves_everything_as_it_was() -> None:
    examples = world().examples("rl")
    assert with_wishes(examples, world(), WishesConfig(), 0) is examples


def test_a_catalogue_that_tells_nothing_is_wished_nothing_of() -> None:
    bare = Catalog(tuple(replace(item, categories=(), year=None) for item in world().catalog.items))
    dataset = replace(world(), catalog=bare)
    example = dataset.examples("test")[0]
    wisher = Wisher(dataset)
    rng = np.random.default_rng(0)
    assert [wisher.wish(example, rng, kind) for kind in KINDS if kind != "like"] == [None] * (len(KINDS) - 1)


@pytest.mark.parametrize(
    ("wish", "meant"),
    [
        ("I want comedies from the nineties", None),
        ("some comedy from the nineties", "Comedy; 1990s"),
        ("Comedy and crime, but no action please", "Comedy; Crime; not Action"),
        ("something like Heat but newer!", "like Heat; newer"),
        ("dramas of the '80s", "Drama; 1980s"),
        ("?!", None),
        ("like Nothing That Is There", None),
    ],
)
def test_the_rule_reads_the_catalogue_s_words(wish: str, meant: str | None) -> None:
    found = WishRule(world().catalog).parse(wish)
    if wish.startswith("I want comedies"):  # an irregular plural is none of its words
        assert found == "1990s"
    else:
        assert set(split_phrases(found)) == set(split_phrases(meant))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_meant_can_be_asked(kind: str) -> None:
    from deeprec.trm.baselines import Popularity

    trm = MentioningTRM(Popularity.fit(world()), world().catalog)  # type: ignore[arg-type]
    for wish in all_wishes(kind)[:50]:
        parsed = trm.parse(wish.meant)
        assert bool(parsed.liked) == (kind in ("like", "newer"))
        assert bool(parsed.excluded) == (kind == "exclusion")
