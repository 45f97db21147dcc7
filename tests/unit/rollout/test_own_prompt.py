"""Prompts and engines of your own, by where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_world import build_catalog, settings

from deeprec.config import load_config
from deeprec.errors import ConfigError
from deeprec.rollout.engines.build import build_engine
from deeprec.rollout.protocol import render_prompt
from deeprec.types import Example

PROMPTS = r'''
GOOD = """Ask at most {turns} times for {k} items each, like {t.begin_preference}calm; 1990s{t.end_preference}.
{profile}{history}
List {n}.{{}}
{t.begin_think}
"""
NUMBER = 3
FIELD = "{history} {target}\n{t.begin_think}\n"
TAG = "{history} {t.begin_of_all}\n{t.begin_think}\n"
PLACE = "{history} {}\n{t.begin_think}\n"
BRACE = "{history} }\n{t.begin_think}\n"
BLIND = "Say something.\n{t.begin_think}\n"
OPEN = "{history}\n"
PLACED = "{history}\n{wish}Go on.\n{t.begin_think}\n"
'''
ENGINES = """
class Half:
    context_length = 9
    def generate(self, requests, sampling): ...

def half(config, model, codec, *, seed):
    return Half()

class Whole(Half):
    def __init__(self, seed): self.seed = seed
    def reseed(self, seed): ...
    def forget(self): ...

def whole(config, model, codec, *, seed):
    return Whole(seed)

def seedless(config, model, codec): ...
"""


@pytest.fixture(autouse=True)
def _mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "prompts_of_mine.py").write_text(PROMPTS)
    (tmp_path / "engines_of_mine.py").write_text(ENGINES)


def test_a_wish_stands_where_the_prompt_places_it_or_before_the_response() -> None:
    catalog, example = build_catalog(("Alien", "Brazil")), Example("u", (1,), wish="funny\n<think>")
    line = "What the user wants right now, in their own words: funny ‹think›\n"
    placed = render_prompt(example, catalog, settings(template="prompts_of_mine:PLACED"))
    assert placed == f"- Alien\n{line}Go on.\n<think>\n"
    shown = render_prompt(example, catalog, settings(template="prompts_of_mine:GOOD", prompt_fields=()))
    assert shown.endswith(f"- Alien\nList 3.{{}}\n{line}<think>\n")


def test_a_prompt_of_ones_own_is_filled_in() -> None:
    config = settings(template="prompts_of_mine:GOOD", history=1, max_retrievals=2, prompt_fields=())
    catalog = build_catalog(("Alien", "Brazil"))
    shown = render_prompt(Example("u", (2, 1), 2), catalog, config)
    assert shown == (
        f"Ask at most 2 times for {config.retrieved} items each, like <|begin_of_preference|>calm; "
        f"1990s<|end_of_preference|>.\n- Alien\nList {config.recommended}.{{}}\n<think>\n"
    )
    assert config.chats  # an instruction, as `full` is


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NUMBER", "is a int; name a text with fields"),
        ("ABSENT", "has no attribute 'ABSENT'"),
        (
            "FIELD",
            r"unknown field \{target\}; known: history, profile, wish, k, n, turns, t.begin_preference",
        ),
        ("TAG", r"unknown field \{t.begin_of_all\}"),
        ("PLACE", r"unknown field \{\}"),
        ("BRACE", "can't be filled in .*write a brace of the text twice"),
        ("BLIND", r"lacks \{history\}"),
        ("OPEN", r"must end with \{t.begin_think\} and a line break"),
    ],
)
def test_a_prompt_that_can_not_be_used(name: str, message: str) -> None:
    config = settings(template=f"prompts_of_mine:{name}")
    with pytest.raises(ConfigError, match=f"rollout.template = 'prompts_of_mine:{name}': .*{message}"):
        render_prompt(Example("u", (1,), 1), build_catalog(("Alien",)), config)


def engine_of(kind: str) -> object:
    return build_engine(load_config(overrides=[f"engine.kind={kind}"]), None, None, seed=7)  # type: ignore[arg-type]


def test_an_engine_of_ones_own_is_built_with_the_seed() -> None:
    assert engine_of("engines_of_mine:whole").seed == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half", "gave a Half, which is no Engine: it lacks reseed, forget; see docs/howto/extend.md"),
        ("seedless", "can't be called with .config, model, codec, seed=...."),
        ("Half", "can't be called with"),
        ("absent", "has no attribute 'absent'"),
    ],
)
def test_an_engine_that_can_not_be_used(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"engine.kind = 'engines_of_mine:{name}': .*{message}"):
        engine_of(f"engines_of_mine:{name}")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "engine.kind=vlm",
            "'engine.kind' = 'vlm': did you mean 'vllm'. choose local or vllm, or name your own as",
        ),
        (
            "rollout.template=chatty",
            "'rollout.template' = 'chatty': choose full or compact, or name your own",
        ),
    ],
)
def test_a_name_that_is_neither_ours_nor_a_reference(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(overrides=[setting])
