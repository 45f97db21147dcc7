"""Settings of a run: one frozen model a section, one file each. `config.py` reads them from TOML.

`docs/reference/config.md` is generated from the field descriptions.
"""

from deeprec.settings.data import DataConfig, SyntheticConfig
from deeprec.settings.engine import EngineConfig
from deeprec.settings.evaluation import EvaluationConfig
from deeprec.settings.inference import InferenceConfig
from deeprec.settings.policy import PolicyConfig
from deeprec.settings.rivals import (
    EnhancedTRMConfig,
    ItemTokensConfig,
    OneShotConfig,
    PlainConfig,
    RivalsConfig,
)
from deeprec.settings.rl import ColdStartConfig, RecommendationConfig, RLConfig, StageConfig
from deeprec.settings.rollout import RolloutConfig
from deeprec.settings.run import RunConfig
from deeprec.settings.section import Fraction, Positive, Section, Seed
from deeprec.settings.selection import SelectionConfig
from deeprec.settings.serve import ServeConfig
from deeprec.settings.trm import TRMConfig
from deeprec.settings.warm_start import WarmStartConfig
from deeprec.settings.wishes import WishesConfig

__all__ = [
    "ColdStartConfig",
    "DataConfig",
    "EngineConfig",
    "EnhancedTRMConfig",
    "EvaluationConfig",
    "Fraction",
    "InferenceConfig",
    "ItemTokensConfig",
    "OneShotConfig",
    "PlainConfig",
    "PolicyConfig",
    "Positive",
    "RLConfig",
    "RecommendationConfig",
    "RivalsConfig",
    "RolloutConfig",
    "RunConfig",
    "Section",
    "Seed",
    "SelectionConfig",
    "ServeConfig",
    "StageConfig",
    "SyntheticConfig",
    "TRMConfig",
    "WarmStartConfig",
    "WishesConfig",
]
