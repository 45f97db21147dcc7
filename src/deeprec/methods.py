"""The table of methods: everything that a run can be asked to rank by, rivals included.

Rivals of your own are no entries: each is named by where it is, `package.module:name`.

Whatever lists, orders, labels, requires, builds or documents methods reads `METHODS`. To add one is to add its
entry here, in the place that it has in tables, and what its `build` names.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from deeprec import stages
from deeprec.errors import EvaluationError
from deeprec.references import is_reference

if TYPE_CHECKING:
    from deeprec.settings.run import RunConfig

POPULARITY: Final = "popularity"
TRM: Final = stages.TRM
TRM_DATED: Final = "trm-dated"
TRM_RERANKED: Final = "trm-reranked"
TRM_REFIT: Final = "trm-refit"
TRM_WISH: Final = "trm-wish"
TRM_WISH_RULE: Final = "trm-wish-rule"
TRM_WISH_RERANKED: Final = "trm-wish-reranked"
TRM_MEANT: Final = "trm-meant"  # no entry: the protocol of wishes makes it, which alone knows what was meant
ORACLE: Final = "oracle"
ITEM_KNN: Final = "item-knn"
EASE: Final = "ease"
ALS: Final = "als"
BPR: Final = "bpr"
RECTOOLS_SASREC: Final = "rectools-sasrec"
RECTOOLS_BERT4REC: Final = "rectools-bert4rec"
TRM_ASKED: Final = "trm-asked"
LLM_ENHANCED_TRM: Final = "llm-enhanced-trm"
TRM_ENHANCED_SFT: Final = "trm-enhanced-llm-sft"
TRM_ENHANCED: Final = "trm-enhanced-llm"
TITLE_TOKENS: Final = "llm-title-tokens"
SEMANTIC_IDS: Final = "llm-semantic-ids"

_PSEUDONYMS = "@pseudonyms"  # behind a policy's name: the same policy, shown made-up titles
_WISH = "@wish"  # the same, told what the user wants
_ONCE = "@once"  # the same, asking once


@dataclass(frozen=True, slots=True)
class Method:
    """One method: `label` in tables, and what it stands on.

    `needs` are the stages that must be finished, in order; their minutes are what the method costs to train.
    `build` is `module:function`, a function of (run, dataset, trm, name) that gives the Recommender; it is imported
    when asked for, since most load a framework. `rival` is `module:attribute` of a `Rival`, for one.
    `policy` is the stage whose policy it asks. `reads` is the group of settings whose `history` says how many items it
    reads. `suits` says for which runs it is listed unasked.
    """

    name: str
    label: str
    needs: tuple[str, ...] = ()
    build: str = ""
    rival: str | None = None
    policy: str | None = None
    reads: Literal["trm", "rollout"] | None = None
    is_baseline: bool = False  # others are held against it, as far as it is evaluated
    is_ceiling: bool = False  # no contender: never marked as best
    hears_wish: bool = False  # is of the protocol of simulated wishes alone (docs/howto/wish.md)
    suits: Callable[[RunConfig], bool] = lambda config: True

    def history(self, config: RunConfig) -> int | None:
        """Latest items that the method reads; None where no setting says."""
        return None if self.reads is None else int(getattr(config, self.reads).history)


def _policy(stage: str, label: str, *, is_baseline: bool = False) -> Method:
    needs = (stages.TRM, *stages.POLICY_STAGES[: stages.POLICY_STAGES.index(stage) + 1])
    return Method(
        stage, label, needs, "deeprec.builders:build_policy", policy=stage, reads="rollout",
        is_baseline=is_baseline,
    )  # fmt: skip


def _renamed(policy: Method) -> Method:
    """The same policy, shown made-up titles: only on request, since it tells of the titles, not of the method."""
    return replace(
        policy,
        name=policy.name + _PSEUDONYMS,
        label=f"{policy.label}, made-up titles",
        build="deeprec.builders:build_renamed",
        is_baseline=False,
        suits=lambda config: False,
    )


def _wishing(name: str, label: str, builder: str, *needs: str, **more: Any) -> Method:
    """A method of the protocol of simulated wishes: no table of the usual one lists it."""
    return Method(name, label, (stages.TRM, *needs), f"deeprec.builders:{builder}", hears_wish=True, **more)


def _told(policy: Method) -> tuple[Method, Method]:
    """The same policy, told what the user wants; and asking once."""
    needs = policy.needs[1:]
    return (
        _wishing(policy.name + _WISH, f"{policy.label}, told the wish", "build_policy", *needs, policy=policy.policy),
        _wishing(
            policy.name + _ONCE, f"{policy.label}, told the wish, asks once", "build_asks_once", *needs,
            policy=policy.policy, suits=_fills_lists,
        ),
    )  # fmt: skip


def _rival(name: str, home: str, *needs: str) -> Method:
    build = "deeprec.rivals.registry:load_rival"
    return Method(name, name, (*needs, stages.RIVAL + name), build, rival=home)


def _is_dated(config: RunConfig) -> bool:
    """Where the policy knows the month of the latest item, the TRM that is told it is the fair rival."""
    return config.rollout.now or "date" in config.rollout.prompt_fields


def _fills_lists(config: RunConfig) -> bool:
    """Where a list that is opened is filled, it can be opened after any turn."""
    return config.rollout.list != "free"


def _reads(config: RunConfig) -> bool:
    """Where a policy reads, the TRM's plain list in the order of both is a rival: that much comes without asking."""
    return config.warm_start.reads


_POLICIES = (
    _policy(stages.WARM_START, "DeepRec, warm start", is_baseline=True),
    _policy(stages.COLD_START, "DeepRec, after stage 1"),
    _policy(stages.RECOMMENDATION, "DeepRec, after stage 2"),
)

# From the floor to the ceiling: the order of tables.
METHODS: tuple[Method, ...] = (
    Method(POPULARITY, "Popularity", build="deeprec.builders:build_popularity"),
    _rival(ITEM_KNN, "deeprec.rivals.plain:ITEM_KNN"),
    Method(
        TRM, "Plain TRM", (stages.TRM,), "deeprec.builders:build_trm", reads="trm", is_baseline=True
    ),
    Method(
        TRM_DATED, "TRM told the latest month", (stages.TRM,), "deeprec.builders:build_dated", reads="trm",
        is_baseline=True, suits=_is_dated,
    ),
    Method(
        TRM_RERANKED, "TRM, reranked by title likelihood", (stages.TRM, stages.WARM_START),
        "deeprec.builders:build_reranked", reads="trm", is_baseline=True, suits=_reads,
    ),
    Method(
        TRM_REFIT, "TRM refitted on the RL targets too", (stages.TRM_REFIT,), "deeprec.builders:build_refit",
        reads="trm", is_baseline=True,
    ),
    *_POLICIES,
    *map(_renamed, _POLICIES),
    _wishing(TRM_WISH, "TRM asked with the user's words", "build_wish"),
    _wishing(TRM_WISH_RULE, "TRM asked by a rule that reads the words", "build_wish_rule"),
    _wishing(
        TRM_WISH_RERANKED, "TRM asked with the user's words, reranked by title likelihood", "build_wish_reranked",
        stages.WARM_START, suits=_reads,
    ),
    *(told for policy in _POLICIES for told in _told(policy)),
    _rival(EASE, "deeprec.rivals.plain:EASE"),
    _rival(ALS, "deeprec.rivals.plain:ALS"),
    _rival(BPR, "deeprec.rivals.plain:BPR"),
    _rival(RECTOOLS_SASREC, "deeprec.rivals.rectools:SASREC"),
    _rival(RECTOOLS_BERT4REC, "deeprec.rivals.rectools:BERT4REC"),
    _rival(TRM_ASKED, "deeprec.rivals.asked:TRM_ASKED", stages.TRM),
    _rival(LLM_ENHANCED_TRM, "deeprec.rivals.enhanced_trm.rival:ENHANCED_TRM"),
    _rival(TRM_ENHANCED_SFT, "deeprec.rivals.one_shot.rival:TRM_ENHANCED_SFT", stages.TRM),
    _rival(
        TRM_ENHANCED, "deeprec.rivals.one_shot.rival:TRM_ENHANCED", stages.TRM, stages.RIVAL + TRM_ENHANCED_SFT
    ),
    _rival(TITLE_TOKENS, "deeprec.rivals.item_tokens.rival:TITLE_TOKENS"),
    _rival(SEMANTIC_IDS, "deeprec.rivals.item_tokens.rival:SEMANTIC_IDS"),
    Method(
        ORACLE, "Oracle (ceiling)", build="deeprec.builders:build_oracle", is_ceiling=True,
        suits=lambda config: config.data.name == "synthetic",
    ),
)  # fmt: skip
_BY_NAME = {method.name: method for method in METHODS}
RIVALS = tuple(method.name for method in METHODS if method.rival is not None)
BASELINES = tuple(method.name for method in METHODS if method.is_baseline)


def find_method(name: str, known: tuple[str, ...] = tuple(_BY_NAME), what: str = "method") -> Method:
    """The method of that name, one of `known` or a rival of your own; raises EvaluationError naming the nearest."""
    if name in known or is_reference(name):
        return describe(name)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise EvaluationError(f"unknown {what} '{name}'{hint}; known: {', '.join(known)}")


def describe(name: str) -> Method:
    """The entry of that name; for what is not of this table (a rival or recommender of your own) a bare one."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    return _rival(name, name) if is_reference(name) else Method(name, name)


def place_of(name: str) -> tuple[float, str]:
    """Sorts methods as tables do; those that are not of this table stand before the ceiling, by name."""
    places = [method.name for method in METHODS]
    if name in places:
        return places.index(name), ""
    return len(places) - 1.5, name


def own_rivals(finished: Iterable[str]) -> list[str]:
    """Rivals of your own among finished stages."""
    names = [stage.removeprefix(stages.RIVAL) for stage in finished if stage.startswith(stages.RIVAL)]
    return [name for name in names if is_reference(name)]


def known_methods(config: RunConfig) -> tuple[str, ...]:
    """Every method that a run with these settings makes by itself; rivals come besides."""
    return tuple(
        method.name
        for method in METHODS
        if method.rival is None and not method.hears_wish and method.suits(config)
    )


def wish_methods() -> tuple[str, ...]:
    """The methods of the protocol of simulated wishes: those that hear one, and TRM and policies without it."""
    silent = (TRM, *(policy.name for policy in _POLICIES))
    return tuple(
        method.name for method in METHODS if method.build and (method.name in silent or method.hears_wish)
    )


def askable_methods(config: RunConfig) -> tuple[str, ...]:
    """Every method that a run with these settings may be asked for: rivals and renamed policies too."""
    known = known_methods(config)
    return tuple(
        method.name
        for method in METHODS
        if method.name in known
        or method.rival is not None
        or (method.policy is not None and not method.hears_wish)
    )
