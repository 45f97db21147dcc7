"""The table of methods: whole, in order, and the only place that spells a method's name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import deeprec
from deeprec.config import load_config, override_config
from deeprec.errors import EvaluationError
from deeprec.evaluation.columns import method_places
from deeprec.methods import METHODS, RIVALS, Method, describe, find_method
from deeprec.references import load_reference
from deeprec.rivals.registry import Rival
from deeprec.stages import POLICY_STAGES, RIVAL, STAGES, command_of

SOURCE = Path(deeprec.__file__).parent
TABLE = {"methods.py", "stages.py"}
# Words that are a method's name and mean something else there.
OTHER_MEANINGS = {
    "popularity": {"evaluation/beyond.py", "evaluation/columns.py", "evaluation/compare.py",
                   "evaluation/comparison.py"},  # a figure of lists
    "oracle": {"trm/quality.py", "cli/trm.py"},  # preferences that are told the target
    "trm": {"serve/answers.py", "serve/bodies.py",  # a mode of the service, a word of its API
            "ablation/sharing.py"},  # a group of settings
}  # fmt: skip
# A policy is called as its stage: whoever runs stages or names settings may spell that, whoever lists methods may not.
LIST_METHODS = (
    "ablation",
    "audit",
    "evaluation",
    "rollout",
    "serve",
    "builders.py",
    "doctor.py",
    "pipeline.py",
)


def spelled() -> list[tuple[str, str, int]]:
    """(name, file, line) of every literal in the source that is a method's name."""
    names = {method.name for method in METHODS}
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        place = file.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names:
                found.append((node.value, place, node.lineno))
    return found


def test_each_methods_name_is_spelled_in_one_place() -> None:
    strays = [
        f"{file}:{line} spells '{name}'"
        for name, file, line in spelled()
        if file not in TABLE
        and file not in OTHER_MEANINGS.get(name, ())
        and (name not in STAGES or file.split("/")[0] in LIST_METHODS)
    ]
    assert strays == [], "take the name from deeprec.methods"


def test_no_message_spells_one_either() -> None:
    """Names that can mean nothing else stand in no text of the code but docstrings and descriptions of settings."""
    names = [re.escape(method.name) for method in METHODS if "-" in method.name]
    word = re.compile(rf"(?<![\w-])({'|'.join(sorted(names, key=len, reverse=True))})(?![\w-])")
    strays = []
    for file in sorted(SOURCE.rglob("*.py")):
        if file.name in TABLE or file.parent.name == "settings":
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        described = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        strays += [
            f"{file.name}:{node.lineno} spells '{found[0]}'"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described
            if (found := word.search(node.value))
        ]
    assert strays == [], "take the name from deeprec.methods"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_entry_is_whole(method: Method) -> None:
    assert callable(load_reference(method.build, method.name))
    assert all(stage in STAGES or stage.removeprefix(RIVAL) in RIVALS for stage in method.needs)
    assert all(command_of(stage).startswith("deeprec ") for stage in method.needs)
    assert method.policy is None or method.policy in POLICY_STAGES
    if method.rival is not None:
        assert isinstance(load_reference(method.rival, method.name), Rival)
        assert method.needs[-1] == RIVAL + method.name


def test_names_and_labels_are_distinct() -> None:
    assert (
        len({method.name for method in METHODS}) == len({method.label for method in METHODS}) == len(METHODS)
    )


def test_the_table_is_the_order_of_tables() -> None:
    names = [method.name for method in METHODS]
    assert method_places(sorted(names)) == names
    assert method_places(["oracle", "mine", "a: oracle", "a: trm", "trm", "als"]) == [
        "trm", "als", "mine", "oracle", "a: trm", "a: oracle",
    ]  # fmt: skip


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(
        EvaluationError, match="unknown method 'recomendation'; did you mean 'recommendation'"
    ):
        find_method("recomendation")
    assert describe("mine") == Method("mine", "mine")


def test_what_a_method_needs_is_what_it_costs() -> None:
    assert find_method("recommendation").needs == ("trm", "warm_start", "cold_start", "recommendation")
    assert find_method("warm_start@pseudonyms").needs == ("trm", "warm_start")
    assert find_method("trm-refit").needs == ("trm_refit",)
    assert find_method("ease").needs == ("rival:ease",)
    assert find_method("trm-asked").needs == ("trm", "rival:trm-asked")


def test_what_a_method_reads() -> None:
    config = load_config("ci", overrides=["trm.history=7", "rollout.history=5"])
    read = {method.name: method.history(config) for method in METHODS}
    assert {name for name, history in read.items() if history == 7} == {
        "trm", "trm-dated", "trm-reranked", "trm-refit",
    }  # fmt: skip
    assert read["recommendation"] == read["recommendation@pseudonyms"] == 5
    assert read["popularity"] is None


def test_of_wishes_a_run_is_evaluated_with_what_it_can_have() -> None:
    def unasked(*settings: str) -> set[str]:
        config = override_config(load_config("synthetic"), settings)
        return {method.name for method in METHODS if method.hears_wish and method.suits(config)}

    everything = unasked()
    assert {"trm-wish", "trm-wish-rule", "trm-wish-reranked", "recommendation@once"} <= everything
    bare = unasked("rollout.list=free", "warm_start.reading_epochs=0")
    assert everything - bare == {"trm-wish-reranked", *(f"{stage}@once" for stage in POLICY_STAGES)}
