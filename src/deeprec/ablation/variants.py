"""What is taken away, as data: a name, settings, and one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from deeprec.config import RunConfig, override_config
from deeprec.errors import ConfigError
from deeprec.rewards.mixture import check_weights
from deeprec.stages import RL_STAGES
from deeprec.toml import toml_value

FULL = "full"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
# Sub-runs share the data, are evaluated on the same users, and get their seed from `--seeds`.
_SHARED = ("data", "evaluation", "seed", "trm.seed")


@dataclass(frozen=True)
class Variant:
    """The settings that make a variant of a run.

    `overrides` are settings as `key=value`; `without` names reward parts to be taken out of
    weights, as `rl.STAGE.weights.PART`, whatever else the run weighs.
    """

    name: str
    taken_away: str
    overrides: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


VARIANTS = (
    Variant(FULL, "Nothing."),
    Variant("single-turn", "All retrievals but one.", ("rollout.max_retrievals=1",)),
    Variant("no-stage-1", "Stage 1: stage 2 starts from the warm start.", ("rl.cold_start.steps=0",)),
    Variant("no-diversity", "Stage 1's reward for diverse preferences.",
            without=("rl.cold_start.weights.diversity",)),
    Variant("no-invocation", "Stage 1's reward for the number of retrievals.",
            without=("rl.cold_start.weights.invocation",)),
    Variant("no-similarity", "Stage 2's point-wise reward: items like the target.",
            without=("rl.recommendation.weights.similarity",)),
    Variant("no-rank", "Stage 2's reward for the target's place in the list.",
            without=("rl.recommendation.weights.rank",)),
    Variant("no-selection", "Data selection: targets of any difficulty are trained on.",
            ("selection.max_rank=1000000000",)),
    Variant("published-fusion", "The gated preference branch: the TRM's query is the mean of state and text.",
            ("trm.kind=published-fusion",)),
)  # fmt: skip


def parse_variant(text: str) -> Variant:
    """A variant of one's own from `NAME:key=value,key=value`.

    Commas within brackets or quotes belong to the value. Raises ConfigError for another form.
    """
    name, colon, settings = text.partition(":")
    overrides = tuple(part.strip() for part in _split(settings) if part.strip())
    if not colon or not overrides or not all("=" in part for part in overrides):
        raise ConfigError(
            f"--variant {text}: expected NAME:key=value,key=value, such as greedy:rollout.temperature=0.5"
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--variant {text}: name '{name}' may hold a-z, 0-9 and '-' only")
    if name in {variant.name for variant in VARIANTS}:
        raise ConfigError(f"--variant {text}: '{name}' is a variant that exists already; choose another name")
    return Variant(name, f"Own variant: {', '.join(overrides)}.", overrides)


def choose_variants(only: Sequence[str], own: Sequence[Variant]) -> list[Variant]:
    """The full method first, then the named ones and one's own; nothing named: all that are built in.

    Raises ConfigError for an unknown name, or two variants of one's own with the same one.
    """
    known = {variant.name: variant for variant in (*VARIANTS, *own)}
    if len(known) < len(VARIANTS) + len(own):
        raise ConfigError("two --variant have the same name; give each its own")
    for name in only:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ConfigError(f"unknown variant '{name}'; {hint}known: {', '.join(known)}")
    wanted = set(only) | {variant.name for variant in own}
    if not wanted:
        return list(VARIANTS)
    return [variant for name, variant in known.items() if name in wanted | {FULL}]


def parse_seeds(text: str) -> list[int]:
    """Seeds from `0,1,2`; raises ConfigError naming what is no seed."""
    seeds = []
    for part in text.split(","):
        word = part.strip()
        if not word.isdecimal() or int(word) >= 2**32:
            raise ConfigError(f"--seeds {text}: '{word}' is no seed; give whole numbers such as 0,1,2")
        seeds.append(int(word))
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {text}: a seed is named twice")
    return seeds


def apply(base: RunConfig, variant: Variant) -> RunConfig | None:
    """The settings of a variant; None when the run has nothing of what it takes away.

    Raises ConfigError, naming the variant, for settings that make no sense or that sub-runs share.
    """
    for override in variant.overrides:
        key = override.partition("=")[0].strip()
        if key in _SHARED or key.partition(".")[0] in _SHARED:
            raise ConfigError(
                f"variant '{variant.name}' sets '{key}', which all sub-runs share with the run; "
                "make another run for other data or users, and name seeds by --seeds"
            )
    try:
        config = override_config(base, [*variant.overrides, *_lighter(base, variant)])
        for stage in RL_STAGES:
            settings = getattr(config.rl, stage)
            if settings.steps:
                check_weights(settings.weights, f"rl.{stage}.weights")
    except ConfigError as error:
        raise ConfigError(f"variant '{variant.name}': {error}") from None
    if config.trm.kind == "published-fusion" and base.trm.kind not in ("deeprec", "published-fusion"):
        raise ConfigError(
            f"variant '{variant.name}' replaces our network's fusion, and this run's trm.kind is "
            f"'{base.trm.kind}'; choose others with --only"
        )
    return None if config == base and variant.name != FULL else config


def _lighter(base: RunConfig, variant: Variant) -> list[str]:
    """Overrides that leave out the variant's reward parts."""
    found = []
    for path in variant.without:
        stage, _, part = path.removeprefix("rl.").partition(".weights.")
        weights: dict[str, float] = getattr(base.rl, stage).weights
        if weights.get(part):
            kept = {name: weight for name, weight in weights.items() if name != part}
            found.append(f"rl.{stage}.weights={toml_value(kept)}")
    return found


def _split(text: str) -> list[str]:
    """Cut at commas that stand outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
