"""docs/scaling.md shows what benchmarks/scaling.py derives, and each part follows its unit costs."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "benchmarks" / "scaling.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_the_script_prints(scaling: ModuleType) -> None:
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert f"```text\n{scaling.table(scaling.Assumed(), scaling.load_measured())}\n```" in page


def test_figures_worked_out_by_hand(scaling: ModuleType) -> None:
    unit = scaling.Measured(1000, 250, 2, 0.01, 1e6, 288, 0.99, 0.01)
    assumed = scaling.Assumed(users=3600, items=1e6, engine_tokens=1250, price=2, core_price=0)
    nightly = dict(scaling.nightly(assumed, unit))
    assert nightly["GPU hours"] == "1"  # 3,600 users of 1,250 tokens, one a second
    assert nightly["dollars"] == "2"
    assert dict(scaling.nightly(replace(assumed, users=3.6e6), unit))["core hours of retrieval"] == "30"
    training = dict(scaling.training(replace(assumed, parameters=1e9, gpus=2), unit))
    assert training["GB of weights into each engine, an iteration"] == "2.0"
    assert (
        training["GB of gradients and weights out of each GPU, an iteration"] == "4"
    )  # 2 updates x 4 GB x 1/2
