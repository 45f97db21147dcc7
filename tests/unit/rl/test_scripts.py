"""What the warm start shows: the protocol, made from the fit part alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from small_world import FIT, TITLES, build_catalog, build_codec, build_dataset, settings

from deeprec.config import RolloutConfig
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.rl.documents import fact_documents, facts, fit_examples, history_documents, script_examples
from deeprec.rl.scripts import (
    OPEN_PREFERENCE,
    OPEN_SHARE,
    Script,
    corpus,
    phrase_rarity,
    scripted_trajectories,
)
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import Popularity
from deeprec.trm.phrases import item_phrases
from deeprec.types import Example, Item, StopReason, Trajectory, Turn

DATASET = build_dataset()
HELD_OUT = [TITLES[item - 1] for item in range(1, 31) if item not in FIT]
LATE = "1990s"  # only held-out items are that late


def write(
    dataset: Dataset = DATASET,
    count: int = 60,
    seed: int = 0,
    config: RolloutConfig | None = None,
    context: int = 2048,
) -> list[Trajectory]:
    rng = np.random.default_rng(seed)
    chunks = scripted_trajectories(
        dataset, Popularity.fit(dataset), build_codec(), config or settings(), count, context, rng, chunk=25
    )
    return [script.trajectory for chunk in chunks for script in chunk]


def scripts_with_examples(count: int, config: RolloutConfig) -> list[tuple[Script, Example]]:
    """Scripts beside what they were made from: one chunk, whose examples the same seed draws again."""
    rng = np.random.default_rng(0)
    chunk = next(
        scripted_trajectories(
            DATASET, Popularity.fit(DATASET), build_codec(), config, count, 2048, rng, count
        )
    )
    examples = fit_examples(DATASET, count, np.random.default_rng(0))
    return list(zip(chunk, examples, strict=True))


def write_with_examples(count: int, config: RolloutConfig) -> list[tuple[Trajectory, Example]]:
    return [(script.trajectory, example) for script, example in scripts_with_examples(count, config)]


def with_script_part() -> Dataset:
    """The last fit interaction of every user held back for scripts."""
    last = pl.int_range(pl.len()).over("user_id", "part") == pl.len().over("user_id", "part") - 1
    part = pl.when((pl.col("part") == "fit") & last).then(pl.lit("script")).otherwise("part")
    return replace(DATASET, interactions=DATASET.interactions.with_columns(part.alias("part")))


def with_phrases(*of_all: str) -> Dataset:
    """Every item has the given categories and one of its own, and no year."""
    items = tuple(
        replace(item, categories=(*of_all, f"Kind {item.label}"), year=None) for item in build_catalog().items
    )
    return replace(DATASET, catalog=Catalog(items))


def with_other_future(dataset: Dataset) -> Dataset:
    """The same fit part, but every held-out interaction is with another item."""
    other = pl.when(pl.col("part") == "fit").then(pl.col("item_index")).otherwise(51 - pl.col("item_index"))
    return replace(dataset, interactions=dataset.interactions.with_columns(other.cast(pl.Int32)))


def is_open(script: Trajectory) -> bool:
    return script.turns[-1].preference == OPEN_PREFERENCE


class TestExamples:
    def test_cuts_through_the_fit_part(self) -> None:
        histories = {example.user_id: example for example in DATASET.fit_histories()}
        examples = fit_examples(DATASET, 300, np.random.default_rng(0))
        assert len(examples) == 300
        for example in examples:
            whole = histories[example.user_id]
            end = len(example.history)
            assert end >= 1
            assert (*example.history, example.target) == whole.history[: end + 1]
            assert example.ratings == whole.ratings[:end]
            assert example.timestamps == whole.timestamps[:end]
            assert example.profile == whole.profile
        assert {example.user_id for example in examples} == set(histories)

    def test_the_script_part_is_preferred(self) -> None:
        held_back = with_script_part()
        examples = script_examples(held_back, held_back.examples("script"), 200, np.random.default_rng(0))
        assert {e.user_id: e.target for e in examples} == {
            e.user_id: e.target for e in held_back.examples("script")
        }
        assert {e.user_id for e in script_examples(DATASET, [], 200, np.random.default_rng(0))} <= {
            e.user_id for e in DATASET.fit_histories()
        }

    def test_without_a_pair_of_interactions_it_says_so(self) -> None:
        alone = replace(
            DATASET, interactions=DATASET.interactions.group_by("user_id", maintain_order=True).head(1)
        )
        with pytest.raises(TrainingError, match="no user has two fit interactions"):
            fit_examples(alone, 5, np.random.default_rng(0))


class TestScripts:
    def test_all_are_as_they_should_be(self) -> None:
        scripts = write()
        assert len(scripts) == 60
        for script in scripts:
            assert (script.stop_reason, script.format_errors) == (StopReason.FINISHED, ())
            assert len(script.lines) == 3
            assert len(script.ranking) == 3  # distinct, and all of them items
            assert set(script.ranking) <= set(script.pool)
        assert {len(script.turns) for script in scripts} == {1, 2, 3}

    def test_no_more_turns_than_allowed(self) -> None:
        assert {len(script.turns) for script in write(config=settings(max_retrievals=2))} == {1, 2}

    def test_the_mask_covers_what_a_policy_would_write(self) -> None:
        codec = build_codec()
        for script in write(count=10):
            pairs = list(zip(script.response_ids, script.loss_mask, strict=True))
            written = codec.decode([token for token, sampled in pairs if sampled])
            listed = codec.decode([token for token, sampled in pairs if not sampled])
            turns = len(script.turns)
            assert [listed.count(tag) for tag in TAGS.all] == [0, 0, turns, turns, 0, 0, 0, 0]
            assert [written.count(tag) for tag in TAGS.all] == [turns, turns, 0, 0, 0, 1, 1, 1]
            assert written.endswith(TAGS.end_list)

    def test_the_seed_decides(self) -> None:
        assert write(seed=1) == write(seed=1)
        assert write(seed=1) != write(seed=2)

    def test_items_of_the_future_are_not_in_them(self) -> None:
        scripts = write(count=200)
        prompts = "".join(script.prompt for script in scripts)
        assert not [title for title in HELD_OUT if f"- {title}" in prompts]
        assert [title for title in TITLES if f"- {title}" in prompts] == [TITLES[item - 1] for item in FIT]
        asked = {
            phrase for script in scripts for turn in script.turns for phrase in turn.preference.split("; ")
        }
        assert LATE not in asked
        assert {"1970s", "1980s"} <= asked

    def test_another_future_changes_nothing(self) -> None:
        other = with_other_future(DATASET)
        assert other.examples("test") != DATASET.examples("test")
        assert write(other) == write()
        assert history_documents(other, build_codec(), settings()) == history_documents(
            DATASET, build_codec(), settings()
        )
        assert corpus(other) == corpus(DATASET)


class TestRanking:
    @pytest.mark.parametrize("new_items_only", [False, True])
    def test_it_is_the_wide_list_with_the_next_item_moved_to_the_top(self, new_items_only: bool) -> None:
        moved, found_elsewhere = 0, 0
        pairs = write_with_examples(300, settings(new_items_only=new_items_only))
        for script, example in pairs:
            asked = [frozenset(turn.preference.split("; ")) for turn in script.turns]
            if len(set(asked)) < len(asked):
                continue  # asked for again: answered with what comes next
            wide = script.turns[0 if new_items_only else -1].retrieved
            if example.target in script.pool:
                promoted = (example.target, *(item for item in wide if item != example.target))[:3]
                assert script.ranking == promoted
                moved += promoted != wide[:3]
                found_elsewhere += example.target not in wide
            else:
                assert script.ranking == wide[:3]
        assert (found_elsewhere > 0) == new_items_only  # an item of another list is put in front as well
        assert 0 < moved < len(pairs)

    def test_a_first_title_that_is_only_the_trms_favourite_is_not_learned(self) -> None:
        codec = build_codec()
        for script, example in scripts_with_examples(100, settings()):
            trajectory = script.trajectory
            masked = [
                token
                for token, sampled, learned in zip(
                    trajectory.response_ids, trajectory.loss_mask, script.mask, strict=True
                )
                if sampled and not learned
            ]
            expected = [] if example.target in trajectory.pool else [trajectory.lines[0]]
            assert [codec.decode([token]) for token in masked] == expected
            assert script.document.ids == trajectory.prompt_ids + trajectory.response_ids
            assert sum(script.document.mask) == sum(script.mask)

    def test_where_the_list_is_retrieved_scripts_teach_to_ask_and_to_open_the_list(self) -> None:
        codec = build_codec()
        for script, _ in scripts_with_examples(40, settings(list="retrieved")):
            ids = script.trajectory.response_ids
            learned = codec.decode([i for i, wanted in zip(ids, script.mask, strict=True) if wanted])
            assert learned.endswith(f"{TAGS.end_think}\n{TAGS.begin_list}")
            written = codec.decode([i for i, m in zip(ids, script.trajectory.loss_mask, strict=True) if m])
            assert written.startswith(learned)

    def test_the_trm_orders_what_was_not_found(self) -> None:
        """Best first, by the scores of the turn that was answered last."""
        for script, example in write_with_examples(100, settings()):
            if example.target not in script.pool:
                scores = dict(zip(script.turns[-1].retrieved, script.turns[-1].scores, strict=True))
                assert [scores[item] for item in script.ranking] == sorted(scores.values(), reverse=True)[:3]


def told(turn: Turn) -> list[str]:
    """The phrases that a script's thought names, in its order."""
    return turn.thought.split(": ")[1].rstrip(".").split(", ")


class TestPhrases:
    def test_rarity_is_one_over_the_number_of_items(self) -> None:
        rarity = phrase_rarity(DATASET.catalog)
        assert {phrase: rarity[phrase] for phrase in ("Action", "Comedy", "1970s", "1990s")} == {
            "Action": 1 / 7, "Comedy": 1 / 8, "1970s": 1 / 10, "1990s": 1 / 10,
        }  # fmt: skip
        assert len(rarity) == 4 + 3  # exact years are not said

    def test_rare_phrases_are_preferred(self) -> None:
        """Three phrases of every item, and one of its own: by the plain share, 0.7 of the pairs would hold one."""
        dataset = with_phrases("Common", "Usual", "Ordinary")
        wide = [script.turns[-1].preference.split("; ") for script in write(dataset, count=800)]
        pairs = [phrases for phrases in wide if len(phrases) == 2]
        assert len(pairs) > 100
        assert np.mean([any(phrase.startswith("Kind ") for phrase in pair) for pair in pairs]) > 0.85

    def test_preferences_are_narrow_at_first_and_wide_at_last(self) -> None:
        pairs = write_with_examples(300, settings())
        narrow = [turn for script, _ in pairs for turn in script.turns[:-1]]
        wide = [script.turns[-1] for script, _ in pairs]
        assert {len(turn.preference.split("; ")) for turn in narrow} == {1, 2}
        assert max(len(turn.preference.split("; ")) for turn in wide) == 4
        assert {turn.thought.split(": ")[0] for turn in narrow} == {"Perhaps"}
        assert {turn.thought.split(": ")[0] for turn in wide} == {"Overall"}

    @pytest.mark.parametrize("config", [settings(new_items_only=True), settings(list="masked")])
    def test_where_the_first_list_counts_the_wide_preference_comes_first(self, config: RolloutConfig) -> None:
        scripts = write(count=100, config=config)
        assert {script.turns[0].thought.split(": ")[0] for script in scripts} == {"Overall"}
        assert {turn.thought.split(": ")[0] for s in scripts for turn in s.turns[1:]} == {"Perhaps"}

    def test_the_last_preference_is_about_the_past_and_not_the_next_item(self) -> None:
        for script, example in write_with_examples(200, settings()):
            past = {p for item in example.history[-5:] for p in item_phrases(DATASET.catalog[item])}
            assert set(script.turns[-1].preference.split("; ")) <= past or is_open(script)

    def test_where_dates_are_shown_preferences_may_name_the_month_of_the_latest_item(self) -> None:
        asked = [turn.preference for s in write(count=100) for turn in s.turns]
        assert not [text for text in asked if "1970-01" in text]
        shown = write(count=200, config=settings(prompt_fields=("date",)))
        asked = [turn.preference for s in shown for turn in s.turns]
        assert 0.4 < np.mean(["1970-01" in text for text in asked]) < 0.6  # all times are of that month
        assert 0.02 < np.mean([text == "1970-01" for text in asked]) < 0.15
        assert all(text.startswith("1970-01") for text in asked if "1970-01" in text)

    def test_where_now_is_known_they_say_so_instead(self) -> None:
        asked = [turn.preference for s in write(count=100, config=settings(now=True)) for turn in s.turns]
        assert not [text for text in asked if "1970-01" in text]
        assert 0.6 < np.mean(["now" in text.split("; ") for text in asked]) < 0.9
        assert "now" in asked

    def test_where_now_is_known_the_wide_preference_is_that_alone(self) -> None:
        scripts = write(count=30, config=settings(now=True))
        assert {script.turns[-1].preference for script in scripts} == {"now"}
        assert all(turn.preference != "now" for script in scripts for turn in script.turns[:-1])

    def test_some_wide_preferences_are_left_open(self) -> None:
        scripts = write(count=300)
        share = np.mean([is_open(script) for script in scripts])
        assert share == pytest.approx(OPEN_SHARE, abs=4 * (0.3 * 0.7 / 300) ** 0.5)
        assert not [
            turn for script in scripts for turn in script.turns[:-1] if turn.preference == OPEN_PREFERENCE
        ]

    def test_a_thought_opens_with_what_the_history_has_more_of_than_the_catalogue(self) -> None:
        catalog = DATASET.catalog
        said = phrase_rarity(catalog)
        common = {p: np.mean([p in item_phrases(item) for item in catalog.items]) for p in said}
        for script, example in write_with_examples(100, settings()):
            latest = [item_phrases(catalog[item]) for item in example.history[-settings().history :]]
            excess = {p: np.mean([p in phrases for phrases in latest]) - common[p] for p in common}
            first, *_ = told(script.turns[0])
            assert excess[first] == pytest.approx(max(excess.values()))

    def test_narrow_preferences_ask_for_what_the_thought_named(self) -> None:
        first = [script.turns[0] for script in write(count=300) if len(script.turns) > 1]
        assert all(turn.preference in (told(turn)[0], "; ".join(told(turn))) for turn in first)

    def test_a_thought_names_nothing_but_what_the_shown_history_bears(self) -> None:
        shown = 2
        for script, example in write_with_examples(200, settings(history=shown)):
            borne = {p for item in example.history[-shown:] for p in item_phrases(DATASET.catalog[item])}
            for turn in script.turns:
                assert set(told(turn)) <= borne

    def test_no_exact_year_is_asked_for(self) -> None:
        for script in write(count=100):
            for turn in script.turns:
                assert not [phrase for phrase in turn.preference.split("; ") if phrase.isdigit()]
                assert not re.search(r"\d{4}(?!s)", turn.thought)

    def test_nothing_is_asked_for_twice_while_there_is_a_choice(self) -> None:
        asked = [[turn.preference for turn in script.turns] for script in write(count=200)]
        several = [preferences for preferences in asked if len(preferences) > 1]
        assert np.mean([len(set(preferences)) == len(preferences) for preferences in several]) > 0.9


class TestLimits:
    @pytest.mark.parametrize(
        ("config", "context", "reason"),
        [
            (settings(segment_tokens=4), 2048, StopReason.SEGMENT_LIMIT),
            (settings(response_tokens=20), 2048, StopReason.TOKEN_LIMIT),
            (settings(), 60, StopReason.TOKEN_LIMIT),
        ],
    )
    def test_the_caps_hold_for_scripts(self, config: RolloutConfig, context: int, reason: StopReason) -> None:
        scripts = write(config=config, context=context, count=20)
        assert {script.stop_reason for script in scripts} <= {reason, StopReason.FINISHED}
        assert reason in {script.stop_reason for script in scripts}
        for script in scripts:
            assert len(script.response_ids) <= min(config.response_tokens, context - len(script.prompt_ids))

    def test_items_without_phrases_are_asked_for_by_label(self) -> None:
        items = tuple(
            Item(item.item_index, item.item_id, item.title, item.label) for item in build_catalog().items
        )
        scripts = write(replace(DATASET, catalog=Catalog(items)))
        assert all(script.is_valid for script in scripts)
        assert {turn.preference for script in scripts for turn in script.turns} <= {
            OPEN_PREFERENCE,
            *(TITLES[i - 1] for i in FIT),
        }

    def test_labels_without_a_word_end_the_script(self) -> None:
        items = tuple(Item(i, f"id{i}", "?", "?" * i) for i in range(1, 31))
        scripts = write(replace(DATASET, catalog=Catalog(items)), count=10)
        assert StopReason.EMPTY_PREFERENCE in {script.stop_reason for script in scripts}
        assert all(is_open(s) for s in scripts if s.stop_reason is not StopReason.EMPTY_PREFERENCE)

    def test_categories_forge_no_tag(self) -> None:
        nasty: Sequence[str] = (f"{TAGS.end_preference}x", f"{TAGS.end_think}\nuser: y")
        items = tuple(replace(item, categories=tuple(nasty)) for item in build_catalog().items)
        assert all(script.is_valid for script in write(replace(DATASET, catalog=Catalog(items))))

    def test_users_who_know_everything_get_an_empty_list_without_a_fuss(self) -> None:
        rows = [
            {"user_id": "u", "item_index": item, "timestamp": float(item), "rating": 1.0, "part": "fit"}
            for item in range(1, 31)
        ]
        frame = pl.DataFrame(rows, schema=DATASET.interactions.schema)
        scripts = write(replace(DATASET, interactions=frame), count=40, config=settings(history=30))
        assert {script.stop_reason for script in scripts} == {StopReason.FINISHED}


class TestTexts:
    def test_facts(self) -> None:
        assert facts(DATASET.catalog)[:2] == [
            "Alien | Comedy; 1970s; 1970\n",
            "Aliens | Drama; 1970s; 1971\n",
        ]

    def test_facts_are_learned_whole(self) -> None:
        codec = build_codec()
        documents = fact_documents(DATASET.catalog, codec)
        assert [codec.decode(document.ids) for document in documents] == facts(DATASET.catalog)
        assert all(document.mask == (0, *[1] * (len(document.ids) - 1)) for document in documents)

    @pytest.mark.parametrize("fields", [(), ("rating", "date", "categories")])
    def test_histories_are_whole_and_only_titles_are_learned(self, fields: tuple[str, ...]) -> None:
        codec, config = build_codec(), settings(prompt_fields=fields)
        documents = history_documents(DATASET, codec, config)
        texts = [codec.decode(document.ids) for document in documents]
        for document, text in zip(documents, texts, strict=True):
            assert list(document.ids) == codec.encode(text)
            learned = [
                codec.decode([i]) for i, wanted in zip(document.ids, document.mask, strict=True) if wanted
            ]
            assert learned == re.findall(r"^- ([^|\n]*?)(?: \|.*)?$", text, re.MULTILINE)
        for example in DATASET.fit_histories():
            titles = [TITLES[item - 1] for item in example.history]
            for part in (titles[:4], titles[-4:]):  # windows of the configured history
                assert any(all(f"- {title}" in text for title in part) for text in texts)

    def test_histories_end_with_the_fit_part(self) -> None:
        codec = build_codec()
        histories = "".join(codec.decode(d.ids) for d in history_documents(DATASET, codec, settings()))
        assert not [title for title in HELD_OUT if f"- {title}" in histories]
        assert all(f"- {TITLES[item - 1]}" in histories for item in FIT)

    def test_the_corpus_knows_profiles_but_no_user_ids(self) -> None:
        texts = corpus(DATASET)
        assert "age: 25-34" in texts
        assert not [text for text in texts if "user_id" in text or "u1" in text]
