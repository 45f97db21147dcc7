"""Every error is a DeepRecError and the builtin that fits."""

from __future__ import annotations

import inspect

import pytest

from deeprec import errors
from deeprec.distribution import install_command

FAMILY = {
    name: value
    for name, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.DeepRecError) and value is not errors.DeepRecError
}
BUILTINS = {
    "ConfigError": ValueError,
    "DataError": ValueError,
    "DownloadError": OSError,
    "RunError": RuntimeError,
    "RunLocked": RuntimeError,
    "RetrievalError": ValueError,
    "PolicyError": ValueError,
    "EngineError": RuntimeError,
    "RewardError": ValueError,
    "TrainingError": RuntimeError,
    "EvaluationError": ValueError,
    "StoreError": RuntimeError,
    "StoreUnavailable": RuntimeError,
    "MissingExtraError": ImportError,
    "HubError": ValueError,
    "ClusterError": RuntimeError,
}


def test_the_family_is_complete() -> None:
    assert set(FAMILY) == set(BUILTINS)


@pytest.mark.parametrize("name", sorted(BUILTINS))
def test_an_error_is_also_its_builtin(name: str) -> None:
    assert issubclass(FAMILY[name], BUILTINS[name])


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    with pytest.raises(ImportError) as caught:
        raise errors.MissingExtraError("training", "train")
    expected = f"training needs an extra that is not installed: {install_command('train')}"
    assert str(caught.value) == expected
