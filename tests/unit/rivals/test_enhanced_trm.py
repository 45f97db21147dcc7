"""What a language model writes about items and users: asked once, read strictly, and of the past alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from small_world import build_codec, build_dataset

from deeprec.config import PolicyConfig, RunConfig, override_config
from deeprec.data.split import refit_data
from deeprec.disk import read_jsonl
from deeprec.errors import ConfigError, PolicyError, RunError
from deeprec.policy.loading import save_policy
from deeprec.policy.tiny import build_tiny
from deeprec.rivals.enhanced_trm.enriched import (
    AugmentedDataset,
    added_items,
    enrich,
    write_features,
    write_interactions,
)
from deeprec.rivals.enhanced_trm.prompts import Prompts, build_prompts, read_phrases, read_title
from deeprec.rivals.enhanced_trm.writer import ModelWriter, Written, load_writer, model_name, teaching_texts
from deeprec.rivals.enhanced_trm.written import Question, WrittenTexts
from deeprec.run import Run
from deeprec.settings.rivals import EnhancedTRMConfig
from deeprec.trm.text import item_text
from deeprec.types import Item

DATASET, CODEC = build_dataset(), build_codec()
ALIEN = Item(1, "a", "Alien", "Alien (1979)", ("Sci-Fi",), 1979)
PROMPTS = build_prompts(EnhancedTRMConfig(model="some/model"))
Answer = Callable[[str], str]


class Reciting:
    """Says what a function makes of each prompt, and remembers who asked; breaks off after some calls."""

    def __init__(self, answer: Answer, calls: int = 1_000) -> None:
        self._answer, self._calls = answer, calls
        self.asked: list[str] = []

    def write(self, prompts: Sequence[str], cap: int) -> list[Written]:
        if self._calls == 0:
            raise KeyboardInterrupt
        self._calls -= 1
        self.asked += prompts
        return [Written(self._answer(prompt), 3) for prompt in prompts]


def written(folder: Path, model: str = "m") -> WrittenTexts:
    return WrittenTexts(folder / "texts.jsonl", model)


def model_writer(context: int = 256) -> ModelWriter:
    sizes = PolicyConfig(width=16, heads=2, key_value_heads=1, inner=32, layers=1, context=context)
    return ModelWriter("m", build_tiny(sizes, CODEC.tokenizer, 0), CODEC.tokenizer)


def last_titles(prompt: str) -> str:
    return [line for line in prompt.splitlines() if line.startswith("- ")][-1]


# Reading


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("", ()),
        (" ... ;; . ", ()),
        ("Sci-Fi; 1979; 1970s; alien; Alien (1979)", ()),  # the catalogue says so already
        ("1) Slow dread; - lonely ship.; SLOW DREAD", ("Slow dread", "lonely ship")),
        ("Description: A crew meets a guest. ; Attributes: tense", ("A crew meets a guest", "tense")),
        (f"tense; {'x' * 400}", ("tense",)),
        ("<think> tense", ("‹think› tense",)),  # no text can bring a tag into the catalogue
        ("a; b; c; d; e", ("a", "b", "c")),
    ],
)
def test_only_new_phrases_are_read(text: str, phrases: tuple[str, ...]) -> None:
    assert read_phrases(text, ALIEN, 3) == phrases


@pytest.mark.parametrize(
    ("line", "item"),
    [
        ("Alien", 1),
        (" - aliens ", 2),
        ('3. "Brazil"', 4),
        ("Alien or Aliens", None),
        ("", None),
        ("Alie", None),
    ],
)
def test_a_title_is_one_item_or_none(line: str, item: int | None) -> None:
    assert read_title(line, DATASET.catalog) == item


# The cache


def questions(count: int) -> list[Question]:
    return [Question(f"about {number}", {"item_id": str(number)}) for number in range(count)]


def test_a_killed_run_asks_only_what_it_lacks(tmp_path: Path) -> None:
    dying = Reciting(str.upper, calls=2)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path).ask(questions(8), dying, 9, batch=3)
    assert len(read_jsonl(tmp_path / "texts.jsonl")) == 6
    with (tmp_path / "texts.jsonl").open("a") as file:
        file.write('{"key": "torn')  # killed in the middle of a line
    again = Reciting(str.upper)
    rows = written(tmp_path).ask(questions(8), again, 9, batch=3)
    assert again.asked == ["about 6", "about 7"]
    assert [row["text"] for row in rows] == [f"ABOUT {number}" for number in range(8)]
    assert [row["item_id"] for row in read_jsonl(tmp_path / "texts.jsonl")] == list("01234567")
    rested = Reciting(str.upper)
    assert written(tmp_path).ask(questions(8), rested, 9, batch=3) == rows
    assert rested.asked == []


def test_a_changed_prompt_or_cap_is_asked_anew(tmp_path: Path) -> None:
    written(tmp_path).ask(questions(1), Reciting(str.upper), 9, batch=3)
    again = Reciting(str.upper)
    written(tmp_path).ask([Question("about zero", {})], again, 9, batch=3)
    written(tmp_path).ask(questions(1), again, 10, batch=3)
    assert again.asked == ["about zero", "about 0"]


def test_the_same_question_is_asked_once(tmp_path: Path) -> None:
    writer = Reciting(str.upper)
    rows = written(tmp_path).ask(questions(1) * 3, writer, 9, batch=2)
    assert len(writer.asked) == 1
    assert len(rows) == 3


def test_texts_of_another_model_are_refused(tmp_path: Path) -> None:
    written(tmp_path).ask(questions(1), Reciting(str.upper), 9, batch=3)
    with pytest.raises(
        RunError, match=r"texts\.jsonl line 1: was written by model 'm', this run's is 'other'"
    ):
        written(tmp_path, "other")
    (tmp_path / "texts.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(RunError, match="is no written text"):
        written(tmp_path)


# Items


def test_every_item_gets_a_row_and_its_phrases_reach_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EnhancedTRMConfig()
    monkeypatch.setattr("deeprec.rivals.enhanced_trm.enriched.PHRASES", 2)
    writer = Reciting(lambda prompt: "haunting; Drama; slow; long")
    rows = write_features(DATASET.catalog, PROMPTS, written(tmp_path), writer, config)
    assert [row["item_id"] for row in rows] == [item.item_id for item in DATASET.catalog.items]
    rich = enrich(DATASET.catalog, rows)
    assert rich.fingerprint == DATASET.catalog.fingerprint  # ids and labels, so that nothing else moves
    assert item_text(rich[1]) == "Alien; Comedy; haunting; Drama; 1970s; 1970"
    assert item_text(rich[2]) == "Aliens; Drama; haunting; slow; 1970s; 1971"
    assert "Title: Alien\nCategories: Comedy\nYear: 1970" in rows[0]["prompt"]


# Histories


def augment(folder: Path, answer: Answer, **changes: object) -> tuple[list[dict], Reciting]:
    writer = Reciting(answer)
    config = EnhancedTRMConfig(**{"short_history": 8, **changes})
    return write_interactions(refit_data(DATASET), PROMPTS, written(folder), writer, config), writer


def test_the_writer_is_shown_fit_items_alone(tmp_path: Path) -> None:
    rows, writer = augment(tmp_path, lambda prompt: "Fargo")
    fit = {example.user_id: example.history for example in refit_data(DATASET).fit_histories()}
    assert {row["user_id"] for row in rows} == {user for user, items in fit.items() if len(items) < 8}
    shown = {line[2:] for prompt in writer.asked for line in prompt.splitlines() if line.startswith("- ")}
    later = {DATASET.catalog[item].label for item in range(25, 31)}  # validation and test alone have them
    assert shown
    assert not shown & later


@pytest.mark.parametrize("title", ["Yojimbo", "Zodiac", "Babe", "Nobody knows this one", ""])
def test_what_only_the_future_has_is_never_inserted(tmp_path: Path, title: str) -> None:
    """Planted: the very titles that are held out, and some that no catalogue has."""
    assert {"Yojimbo", "Zodiac", "Babe"} <= {DATASET.catalog[item].label for item in range(25, 31)}
    rows, writer = augment(tmp_path, lambda prompt: title)
    assert [row["items"] for row in rows] == [[]] * len(rows)
    assert [row["texts"] for row in rows] == [[title]] * len(rows)  # kept for people to read
    assert len(writer.asked) == len(rows)  # the same question is not asked again


def test_an_item_that_the_user_had_is_not_inserted(tmp_path: Path) -> None:
    rows, _ = augment(tmp_path, last_titles)
    assert [row["items"] for row in rows] == [[]] * len(rows)


def test_written_items_go_on_with_the_fit_history_and_with_nothing_else(tmp_path: Path) -> None:
    known = refit_data(DATASET)
    rows, _ = augment(tmp_path, lambda prompt: "Fargo" if "- Fargo" not in prompt else "Dune")
    added = added_items(rows, DATASET.catalog)
    assert (8, 6) in added.values()
    whole = AugmentedDataset(known.name, known.catalog, known.interactions, known.users, added=added)
    for before, after in zip(known.fit_histories(), whole.fit_histories(), strict=True):
        assert after.history == before.history + added.get(before.user_id, ())
        assert after.timestamps in (before.timestamps, ())
        assert len(after.timestamps) in (0, len(after.history))
    for part in ("validation", "test"):
        assert whole.examples(part) == known.examples(part)
    assert whole.known_history("u0") == known.known_history("u0")


def test_long_histories_are_left_alone(tmp_path: Path) -> None:
    rows, writer = augment(tmp_path, lambda prompt: "Fargo", short_history=0)
    assert (rows, writer.asked) == ([], [])


# Prompts and models


def test_own_prompts(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("{title}: {{in short}}\n")
    prompts = build_prompts(EnhancedTRMConfig(item_prompt=str(file)))
    assert prompts.for_item(ALIEN) == "Alien (1979): {in short}"
    assert prompts.history == build_prompts(EnhancedTRMConfig()).history


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{titel}", "unknown field {titel}"),
        ("no field", "lacks {title}"),
        ("{title", "can't be read as a prompt"),
    ],
)
def test_prompts_that_are_none(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        build_prompts(EnhancedTRMConfig(item_prompt=str(file)))
    with pytest.raises(ConfigError, match="history_prompt"):
        build_prompts(EnhancedTRMConfig(history_prompt=str(tmp_path / "none.txt")))


def test_a_model_writes_one_line_each_whoever_is_beside() -> None:
    writer = model_writer()
    prompts = [
        Prompts("{title}", "{history}\n- ").for_history(items, DATASET.catalog)
        for items in ((1,), (2, 3), (4,))
    ]
    found = writer.write(prompts, 12)
    assert found == [writer.write([prompt], 12)[0] for prompt in prompts]
    assert all("\n" not in one.text and 0 < one.tokens <= 12 for one in found)


def test_a_chat_template_is_used_where_there_is_one() -> None:
    chat = copy.deepcopy(CODEC.tokenizer)
    chat.chat_template = "{% for m in messages %}History\n- {{ m['content'] }}\n- {% endfor %}"
    sizes = PolicyConfig(width=16, heads=2, key_value_heads=1, inner=32, layers=1)
    asked = ModelWriter("m", build_tiny(sizes, CODEC.tokenizer, 0), chat).write(["Alien"], 8)
    assert asked == model_writer().write(["History\n- Alien\n- "], 8)


def test_a_context_that_is_too_small_says_what_to_lower() -> None:
    with pytest.raises(PolicyError, match=r"lower rivals\.enhanced_trm\.short_history or feature_tokens"):
        model_writer(context=12).write(["History\n- Alien\n- "], 12)


def test_a_model_is_known_by_what_its_folder_holds(tmp_path: Path) -> None:
    sizes = PolicyConfig(width=16, heads=2, key_value_heads=1, inner=32, layers=1)
    names = []
    for seed in (0, 0, 1):
        save_policy(build_tiny(sizes, CODEC.tokenizer, seed), CODEC.tokenizer, tmp_path / "model")
        config = override_config(RunConfig(), [f"rivals.enhanced_trm.model={tmp_path / 'model'}"])
        names.append(model_name(config))
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("model-")


def test_a_model_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = override_config(RunConfig(), [f"rivals.enhanced_trm.model={tmp_path / 'empty'}"])
    with pytest.raises(PolicyError, match=r"no config\.json here"):
        load_writer(Run(tmp_path / "run", config), DATASET, tmp_path)
    gone = override_config(RunConfig(), ["rivals.enhanced_trm.model=./gone"])
    with pytest.raises(PolicyError, match=r"check rivals\.enhanced_trm\.model"):
        load_writer(Run(tmp_path / "run", gone), DATASET, tmp_path)


def test_the_tiny_writer_reads_fit_histories_alone() -> None:
    texts = [CODEC.decode(document.ids) for document in teaching_texts(DATASET, CODEC, 4, 100, seed=0)]
    assert len(texts) == 100
    fit = [[DATASET.catalog[item].label for item in one.history] for one in DATASET.fit_histories()]
    pieces = {json.dumps(labels[start : start + 4]) for labels in fit for start in range(0, len(labels), 4)}
    read = {json.dumps([line[2:] for line in text.splitlines()[1:]]) for text in texts}
    assert read == pieces
