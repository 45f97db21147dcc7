"""How much to trust the TRM is chosen by what ranks validation users' targets best."""

from __future__ import annotations

import numpy as np
import pytest

from deeprec.errors import PolicyError
from deeprec.rl.list_prior import WEIGHTS, choose_prior
from deeprec.rollout.list_prior import KEY, ListPrior, prior_of, set_prior
from deeprec.rollout.masked import Evidence


def evidence(
    likelihood: list[float], asked: list[float], plain: list[float], excluded: tuple[int, ...] = ()
) -> Evidence:
    left_out = np.array([item in excluded for item in (7, 8, 9)])
    return Evidence((7, 8, 9), np.array(likelihood), np.array(asked), np.array(plain), left_out)


def test_the_part_that_knows_the_target_gets_the_weight() -> None:
    # The policy prefers 8, the asked scores 9, the plain ones the target, 7.
    users = [evidence([0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [2.0, 0.0, 0.0])] * 3
    best, tried = choose_prior(users, [7, 7, 7])
    assert best.plain > best.asked / 2 + 0.5
    assert tried[best] == 1.0
    assert tried[ListPrior(0.0, 0.0)] < 1.0
    assert len(tried) == len(WEIGHTS) ** 2


def test_users_without_a_list_or_a_findable_target_count_as_misses() -> None:
    found = evidence([1.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3)
    _, tried = choose_prior([found, None, found], [7, 7, 1])
    assert set(np.round(list(tried.values()), 6)) == {round(1 / 3, 6)}


def test_of_equals_the_one_found_first_leads() -> None:
    _, tried = choose_prior([evidence([0.0] * 3, [0.0] * 3, [0.0] * 3)], [9])
    assert tried[ListPrior()] == pytest.approx(1 / np.log2(4))


def test_what_was_excluded_comes_last_whatever_the_weights() -> None:
    values = [9.0, 0.0, 1.0], [9.0, 0.0, 0.0], [9.0, 0.0, 0.0]
    _, tried = choose_prior([evidence(*values, excluded=(7,))], [7])
    assert list(tried.values()) == pytest.approx(
        [0.5] * len(tried)
    )  # the third place, though all like it best
    _, tried = choose_prior([evidence(*values, excluded=(7, 8, 9))], [7])
    assert set(tried.values()) == {1.0}
    known = evidence(*values, excluded=(7, 8))
    for weights in (ListPrior(0.0, 0.0), ListPrior(8.0, 8.0)):
        logits = known.likelihood + known.prior(weights)
        assert logits[2] > logits[0] > logits[1]


def test_without_an_exclusion_the_prior_is_what_it_was() -> None:
    known = evidence([1.0, 2.0, 3.0], [0.1, 0.2, 0.3], [0.7, 0.7, 0.1])
    assert np.array_equal(known.prior(ListPrior(0.3, 1.7)), 0.3 * known.asked + 1.7 * known.plain)


class _Model:
    class config:  # noqa: N801 - as transformers calls it
        pass


def test_weights_are_kept_in_the_policys_configuration() -> None:
    model = _Model()
    set_prior(model, ListPrior(0.5, 2.0))  # type: ignore[arg-type]
    assert prior_of(model) == ListPrior(0.5, 2.0)  # type: ignore[arg-type]
    for wrong in ({"asked": "much"}, {"other": 1.0}, 3):
        setattr(model.config, KEY, wrong)
        with pytest.raises(PolicyError, match=KEY):
            prior_of(model)  # type: ignore[arg-type]
    delattr(model.config, KEY)
    assert prior_of(model) == ListPrior()  # type: ignore[arg-type]
