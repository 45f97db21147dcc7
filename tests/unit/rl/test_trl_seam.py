"""What `rl/trainer.py` replaces or reads of TRL without TRL having promised it: a release that changes it is named."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from hashlib import sha256
from importlib import metadata

import pytest
from trl import GRPOTrainer
from trl.trainer import utils

from deeprec.rl import trainer

OVERRIDDEN = {
    "_generate_and_score_completions": "053129b7e8f87be8",
    "_compute_loss": "0e531d07884c068d",
    "_get_per_token_logps_and_entropies": "3bc29dcc7f8a862f",
}
READ = {
    "_prepare_inputs": "0b769b55fe83e200",  # cuts a batch into passes: plans must stay with their rows
    "shuffle_sequence_dict": "5604c86925ca53c2",
    "split_tensor_dict": "067a3e25a1028603",
    "add_fused_lm_head": "bde240055785473a",  # what `score_in_tiles` calls
}
REMEDY = (
    "TRL {version}: {name} is no longer what deeprec.rl.trainer was written against. Read what changed, hold the "
    "docstring of rl/trainer.py against it, run tests/pipeline/test_rl_trainer.py and test_rl_stages.py, then put "
    "{digest!r} here and the version into pyproject.toml"
)


def digest(source: str) -> str:
    """Of the lines without docstrings, comments of their own and blank lines: the same in every version of Python."""
    text = textwrap.dedent(source)
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            told = node.body[0]
            lines[told.lineno - 1 : told.end_lineno] = [""] * ((told.end_lineno or 0) - told.lineno + 1)
    code = [line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return sha256("\n".join(code).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", [*OVERRIDDEN, *READ])
def test_trl_is_as_it_was_when_it_was_tried(name: str) -> None:
    place = GRPOTrainer if hasattr(GRPOTrainer, name) else utils
    function = getattr(place, name, None)
    version = metadata.version("trl")
    assert function is not None, REMEDY.format(version=version, name=f"{name} is gone; it", digest="")
    found = digest(inspect.getsource(inspect.unwrap(function)))
    assert found == (OVERRIDDEN | READ)[name], REMEDY.format(version=version, name=name, digest=found)


def test_every_private_method_that_is_overridden_is_held_and_told() -> None:
    own = {name for name, value in vars(trainer.DeepRecTrainer).items() if inspect.isfunction(value)}
    private = {name for name in own if name.startswith("_") and hasattr(GRPOTrainer, name)} - {"__init__"}
    assert private == set(OVERRIDDEN)
    told = set(re.findall(r"`(_\w+)", trainer.__doc__ or ""))
    assert private <= told


def test_the_digest_is_of_the_code_alone() -> None:
    code = "def one(a):\n    return a + 1\n"
    assert digest(code) == digest(
        'def one(a):\n    """Told,\n    at length."""\n\n    # why\n    return a + 1\n'
    )
    assert digest(code) != digest(code.replace("1", "2"))
