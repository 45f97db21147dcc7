"""All settings of a run."""

from __future__ import annotations

from functools import reduce
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_jsonable_python

from deeprec.settings.data import DataConfig
from deeprec.settings.effect import READING, RIVALS, RL, TRM, WARM_START, changes
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
from deeprec.settings.wishes import WishesConfig


class RunConfig(Section):
    """A complete run."""

    seed: Annotated[
        Seed, changes(READING, WARM_START, *RL, RIVALS), changes(TRM, when=lambda run: run.trm.seed is None)
    ] = Field(0, description="Seed of everything that draws but simulated data (data.synthetic.seed).")
    data: DataConfig = DataConfig()
    trm: TRMConfig = TRMConfig()
    rollout: RolloutConfig = RolloutConfig()
    engine: EngineConfig = EngineConfig()
    policy: PolicyConfig = PolicyConfig()
    warm_start: WarmStartConfig = WarmStartConfig()
    wishes: WishesConfig = WishesConfig()
    selection: SelectionConfig = SelectionConfig()
    rl: RLConfig = RLConfig()
    inference: InferenceConfig = InferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    rivals: RivalsConfig = RivalsConfig()
    serve: ServeConfig = ServeConfig()

    @property
    def fit_seed(self) -> int:
        """Seed of the TRM's fit: its own, or the run's."""
        return self.seed if self.trm.seed is None else self.trm.seed

    def identity(self, stage: str) -> dict[str, Any]:
        """The settings that `stage` depends on, by their dotted names, as plain values.

        What is made before it is no setting: each stage's fingerprint holds that besides. Two runs share
        a TRM if both fit it with the same seed, whichever setting names it.
        """
        settled = self.model_copy(update={"trm": self.trm.model_copy(update={"seed": self.fit_seed})})
        found = {
            setting.path: reduce(getattr, setting.path.split("."), settled)
            for setting in self.settings()
            if any(effect.enters(stage, settled) for effect in setting.effects)
        }
        plain: dict[str, Any] = to_jsonable_python(found)
        return plain
