"""All settings of a run."""

from __future__ import annotations

from pydantic import Field

from deeprec.settings.data import DataConfig
from deeprec.settings.engine import EngineConfig
from deeprec.settings.evaluation import EvaluationConfig
from deeprec.settings.inference import InferenceConfig
from deeprec.settings.policy import PolicyConfig
from deeprec.settings.rivals import RivalsConfig
from deeprec.settings.rl import RLConfig
from deeprec.settings.rollout import RolloutConfig
from deeprec.settings.section import Section, Seed
from deeprec.settings.selection import SelectionConfig
from deeprec.settings.serve import ServeConfig
from deeprec.settings.trm import TRMConfig
from deeprec.settings.warm_start import WarmStartConfig


class RunConfig(Section):
    """A complete run."""

    seed: Seed = Field(
        0, description="Seed of everything that draws but simulated data (data.synthetic.seed)."
    )
    data: DataConfig = DataConfig()
    trm: TRMConfig = TRMConfig()
    rollout: RolloutConfig = RolloutConfig()
    engine: EngineConfig = EngineConfig()
    policy: PolicyConfig = PolicyConfig()
    warm_start: WarmStartConfig = WarmStartConfig()
    selection: SelectionConfig = SelectionConfig()
    rl: RLConfig = RLConfig()
    inference: InferenceConfig = InferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    rivals: RivalsConfig = RivalsConfig()
    serve: ServeConfig = ServeConfig()
