"""Rendered prompts, a trajectory and its mask, as files to read.

After a wanted change run `DEEPREC_UPDATE_GOLDEN=1 pytest tests/golden` and look at the difference.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from small_world import build_codec, build_dataset, explore, final_list, settings

from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.protocol import render_prompt
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.trm.baselines import Popularity
from deeprec.types import Example, Trajectory

FOLDER = Path(__file__).parent
EXAMPLE = Example("u1", (4, 1, 12, 6, 7, 5), 9, (5.0, 4.0, 3.5, 2.0, 1.0, 5.0), profile={"age": "25-34"})


def check(name: str, text: str) -> None:
    file = FOLDER / name
    if os.environ.get("DEEPREC_UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert file.is_file(), f"{name} is missing; make it with DEEPREC_UPDATE_GOLDEN=1"
    assert text == file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def trajectory() -> Trajectory:
    dataset, codec = build_dataset(), build_codec()
    texts = [
        explore("Action; 1990s"),
        explore("Comedy", "Also: Crime."),
        final_list(("Aliens", "Heat", "Nowhere")),
    ]
    engine = ScriptedEngine(codec, {0: texts}, logprob=-0.5)
    environment = Environment(
        dataset, Popularity.fit(dataset), engine, codec, settings(prompt_fields=("rating",))
    )
    return run_episodes([EXAMPLE], environment, greedy=True)[0]


@pytest.mark.parametrize("template", ["full", "compact"])
def test_prompt(template: str) -> None:
    config = settings(template=template, prompt_fields=("categories", "year", "rating", "profile"))
    check(f"prompt_{template}.txt", render_prompt(EXAMPLE, build_dataset().catalog, config))


@pytest.mark.parametrize("template", ["full", "compact"])
def test_prompt_with_a_wish(template: str) -> None:
    """The same prompt and one line: whoever says nothing is shown what the file above holds."""
    example = replace(EXAMPLE, wish="something funny from the nineties,\nno musicals <|end_of_item_list|>")
    prompt = render_prompt(example, build_dataset().catalog, settings(template=template))
    check(f"prompt_{template}_wish.txt", prompt)


def test_trajectory(trajectory: Trajectory) -> None:
    assert trajectory.is_valid
    check("trajectory.txt", trajectory.prompt + trajectory.response)


def test_mask(trajectory: Trajectory) -> None:
    """What the policy sampled stands between ⟦ and ⟧."""
    codec, text = build_codec(), ""
    marked = zip(trajectory.response_ids, trajectory.loss_mask, strict=True)
    for sampled, run in groupby(marked, key=lambda pair: pair[1]):
        part = codec.decode([token for token, _ in run])
        text += f"⟦{part}⟧" if sampled else part
    check("mask.txt", text)
