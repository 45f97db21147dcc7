"""What builds the methods of `methods.METHODS`, each from a run's finished stages. None fills in for a failure.

A function here gets the run, its data set, its TRM and the method's name; `pipeline.build_recommenders` has seen to
it that the stages which the method needs are finished.
"""

from __future__ import annotations

from deeprec.data.dataset import Dataset
from deeprec.errors import EvaluationError
from deeprec.methods import find_method
from deeprec.recommender import Recommender
from deeprec.run import Run
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.recommender import Ask, TRMRecommender
from deeprec.types import Example


def build_popularity(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """Everyone gets what the fit part has most of: the floor of every table."""
    from deeprec.trm.baselines import Popularity

    return TRMRecommender(Popularity.fit(dataset), dataset, name)


def build_trm(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """The TRM's plain list."""
    return TRMRecommender(trm, dataset, name)


def build_dated(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """The TRM, asked by rule for the month of each user's latest item."""
    return TRMRecommender(trm, dataset, name, dated=True)


def build_refit(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """The TRM fitted on everything before validation."""
    from deeprec.trm.refit import load_trm_refit

    return TRMRecommender(load_trm_refit(run, dataset), dataset, name)


def build_oracle(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """The simulation's own probabilities."""
    from deeprec.data.synthetic import oracle

    settings = run.config.data.synthetic
    return oracle(settings, settings.seed, dataset)


def build_reranked(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """The TRM's plain list in the order of TRM and title likelihoods; raises EvaluationError where no policy read."""
    return _reranked(run, dataset, trm, name, None)


def build_wish(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """The TRM, asked with what the user says, word by word."""
    return TRMRecommender(trm, dataset, name, ask=_words)


def build_wish_rule(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """The TRM, asked for what a rule finds in the words."""
    from deeprec.wishes.rule import WishRule

    return TRMRecommender(trm, dataset, name, ask=WishRule(dataset.catalog).ask)


def build_wish_reranked(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """What the TRM retrieves for what the user says, in the order of TRM and title likelihoods."""
    return _reranked(run, dataset, trm, name, _words)


def _words(example: Example) -> str | None:
    return example.wish or None


def build_asks_once(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """DeepRec, whose list is opened after its first turn; raises EvaluationError where it writes lists itself."""
    from deeprec.pipeline import build_deeprec
    from deeprec.rollout.asks_once import AsksOnce

    found = build_deeprec(run, dataset, trm, find_method(name).policy, name=name)
    if found.environment.lists is None:
        raise EvaluationError(f"method '{name}': needs lists that are filled (rollout.list = 'masked')")
    return AsksOnce(name, found.environment)


def _reranked(
    run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str, ask: Ask | None
) -> Recommender:
    from deeprec.policy.environment import load_reading
    from deeprec.rollout.reranked import RerankedTRM
    from deeprec.rollout.title_likelihoods import Likelihoods
    from deeprec.rollout.titles import TitleTexts

    policy = load_reading(run)
    if policy is None:
        raise EvaluationError(
            f"method '{name}': in this run no policy reads histories; set warm_start.reading_epochs"
        )
    titles = TitleTexts(policy.codec, dataset.catalog)
    return RerankedTRM(trm, Likelihoods(policy.model), titles, dataset, run.config.rollout, name, ask)


def build_policy(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """DeepRec with the policy that the method's stage left."""
    from deeprec.pipeline import build_deeprec

    return build_deeprec(run, dataset, trm, find_method(name).policy, name=name)


def build_renamed(run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str) -> Recommender:
    """The same, shown made-up titles."""
    from deeprec.data.pseudonyms import pseudonymise

    return build_policy(run, pseudonymise(dataset), trm, name)
