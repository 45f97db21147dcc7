"""The sign-flip test against scipy's, and Holm's procedure against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from deeprec.errors import EvaluationError
from deeprec.evaluation import permutation
from deeprec.evaluation.permutation import holm, sign_flip_p_values


def _scipy(differences: np.ndarray, resamples: float, seed: int = 0) -> float:
    """scipy's paired permutation test of the mean difference; two-sided as a null symmetric about 0 has it."""
    from scipy.stats import permutation_test

    found = permutation_test(
        (differences, np.zeros(len(differences))),
        lambda left, right, axis: np.abs((left - right).mean(axis=axis)),
        permutation_type="samples",
        alternative="greater",  # of the absolute mean
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def test_few_users_get_the_exact_p_value_as_scipy_gives_it() -> None:
    generator = np.random.default_rng(1)
    differences = np.column_stack(
        [
            generator.normal(0.4, 1.0, size=11),
            generator.integers(-1, 2, size=11).astype(float),  # hits: ties of the statistic abound
            generator.choice([0.0, 0.63, -0.5], size=11),
        ]
    )
    ours = sign_flip_p_values(differences, 10, seed=0)
    np.testing.assert_allclose(ours, [_scipy(column, np.inf) for column in differences.T], atol=1e-12)


def test_many_users_agree_with_scipy_up_to_what_drawing_allows() -> None:
    generator = np.random.default_rng(2)
    differences = np.column_stack(
        [generator.normal(shift, 1.0, size=200) for shift in (0.0, 0.1, 0.2)]
        + [generator.choice([-1.0, 0.0, 1.0], p=[0.03, 0.9, 0.07], size=200)]
    )
    ours = sign_flip_p_values(differences, 4999, seed=0)
    theirs = np.array([_scipy(column, 4999) for column in differences.T])
    error = np.sqrt(theirs * (1 - theirs) / 4999)
    assert (np.abs(ours - theirs) < 5 * error + 4e-4).all(), (ours, theirs)
    assert ours.min() < 0.05 < ours.max()


def test_equal_methods_are_never_told_apart_and_no_p_value_is_zero() -> None:
    clear = np.column_stack([np.ones(500), np.zeros(500), -np.ones(500)])
    assert sign_flip_p_values(clear, 999, seed=0).tolist() == [0.001, 1.0, 0.001]


def test_p_values_of_true_null_hypotheses_are_even() -> None:
    differences = np.random.default_rng(3).normal(size=(60, 400))
    found = sign_flip_p_values(differences, 999, seed=4)
    for level in (0.05, 0.25, 0.5):
        assert np.mean(found <= level) == pytest.approx(level, abs=0.06)


def test_nothing_depends_on_chunks_columns_or_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(0).normal(0.1, 1.0, size=(50, 3))
    whole = sign_flip_p_values(differences, 200, seed=5)
    assert sign_flip_p_values(-differences, 200, seed=5).tolist() == whole.tolist()
    assert sign_flip_p_values(differences[:, 1:2], 200, seed=5).tolist() == whole[1:2].tolist()
    monkeypatch.setattr(permutation, "_CHUNK_CELLS", 350)
    chunked = sign_flip_p_values(differences, 200, seed=5)
    assert np.abs(chunked - whole).max() < 0.1  # other draws of the same test
    assert (chunked > 0).all()


def test_no_users_are_refused() -> None:
    with pytest.raises(EvaluationError, match="no users to test on"):
        sign_flip_p_values(np.zeros((0, 2)), 10, seed=0)


@pytest.mark.parametrize(
    ("given", "adjusted"),
    [
        ([0.01], [0.01]),
        # Smallest times 3, next times 2, last times 1; never below one that came before.
        ([0.01, 0.02, 0.03], [0.03, 0.04, 0.04]),
        # Sorted 0.005, 0.011, 0.02, 0.04, 0.13 times 5, 4, 3, 2, 1.
        ([0.13, 0.011, 0.04, 0.005, 0.02], [0.13, 0.044, 0.08, 0.025, 0.06]),
        ([0.6, 0.5, 0.4], [1.0, 1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([], []),
    ],
)
def test_holm(given: list[float], adjusted: list[float]) -> None:
    assert holm(given) == pytest.approx(adjusted)
