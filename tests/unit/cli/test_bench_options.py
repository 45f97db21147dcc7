"""Nonsense in the options of `deeprec bench`: told before anything is measured, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TRM = ("trm", "--users", 40, "--items", 30, "--exact-items", 100, "--approximate-items", 100, "--rounds", 1)
ROLLOUT = ("rollout", "--rows", 2, "--new-tokens", 4, "--vocabulary", 100, "--rounds", 1)
HUGE = 10**15
WRONG = [
    *((*TRM, option, value) for option in ("--threads", "--rounds") for value in (0, HUGE, "x")),
    *((*TRM, option, value) for option in ("--users", "--items", "--exact-items", "--approximate-items")
      for value in (1, HUGE)),
    *((*TRM, "--seed", value) for value in (-1, 2**32)),
    *((*ROLLOUT, option, value) for option in ("--rows", "--group", "--threads", "--rounds") for value in (0, HUGE)),
    *((*ROLLOUT, option, value) for option in ("--new-tokens", "--vocabulary") for value in (1, HUGE)),
    *((*ROLLOUT, "--at-least", value) for value in ("nan", "inf", -1)),
    (*ROLLOUT, "--steps", HUGE),
    *(("serve", "--requests", value) for value in (3, HUGE)),
    *(("serve", "--at-least", value) for value in ("nan", -1)),
    *(("attack", option, value) for option in ("--rate", "--seconds") for value in ("nan", "inf", 0)),
    *(("attack", "--stored-users", value) for value in (-1, HUGE)),
]  # fmt: skip


@pytest.mark.parametrize("words", WRONG, ids=lambda words: f"{words[0]} {words[-2]} {words[-1]}")
def test_a_value_out_of_range_names_its_option(deeprec: Callable, words: tuple[object, ...]) -> None:
    outcome = deeprec("bench", *words)
    assert outcome.code == 2
    assert f"Invalid value for '{words[-2]}'" in outcome.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((*TRM, "--only", "all"), "ConfigError: --only 'all': choose among training, exact, approximate"),
        ((*TRM, "--run", "no-run"), "RunError: no-run: no run.toml here"),
        ((*ROLLOUT, "--device", "tpu"), "ConfigError: --device 'tpu': choose among cpu"),
        ((*ROLLOUT, "--device", "cuda:99"), "ConfigError: --device 'cuda:99': choose among cpu"),
        ((*ROLLOUT, "--group", "3"), "ConfigError: --rows 2 is no multiple of --group 3"),
        ((*ROLLOUT, "--set", "policy.width=15"), "PolicyError: policy.width = 15 over policy.heads = 8"),
        (("serve", "--run", "no-run"), "RunError: no-run: no run.toml here"),
        (("attack", "--run", "no-run"), "RunError: no-run: no run.toml here"),
    ],
    ids=lambda words: " ".join(map(str, words[-2:])) if isinstance(words, tuple) else "",
)
def test_what_can_not_be_measured_is_told_in_one_line(
    deeprec: Callable, words: tuple[object, ...], told: str
) -> None:
    outcome = deeprec("bench", *words)
    assert (outcome.code, outcome.out) == (2, "")
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith(told)
    assert "Traceback" not in outcome.err


def test_an_interpreter_that_is_none_is_named(deeprec: Callable, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("no program")
    outcome = deeprec(
        "bench", *TRM, "--only", "exact", "--peer-python", tmp_path / "python", "--peers", tmp_path
    )
    assert outcome.code == 2
    assert f"--peer-python {tmp_path / 'python'}: can't be run (Permission denied)" in outcome.err


def test_users_who_know_every_item_are_no_reason_to_stop_half_way(deeprec: Callable) -> None:
    words = (*TRM, "--only", "training", "--set", "trm.epochs=1", "--json")
    outcome = deeprec("bench", *words)
    assert outcome.code == 0
    assert '"name": "retrieve, one history, 30 items"' in outcome.out
