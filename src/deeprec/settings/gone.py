"""Settings that there were in earlier versions, and where each went: their names are refused with that.

Most are constants now, beside the code that they steer: what was tried lies near them, and nobody had
a reason to choose otherwise. A run that was made with the very value goes on being read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gone:
    """`where` a setting went, and what `value` holds in its place now, if need be given the settings of its section.

    None: no value of its own; `former.upgrade` says what it meant.
    """

    where: str
    value: Any

    def holds(self, value: Any, section: Mapping[str, Any]) -> bool:
        """Whether a run that had this value would be made the same now."""
        now = self.value(section) if callable(self.value) else self.value
        return bool(value == now)


def _constant(name: str, file: str, value: Any) -> Gone:
    return Gone(f"it is {name} in deeprec/{file} now", value)


GONE: Mapping[str, Gone] = {
    "data.synthetic.noise": _constant("NOISE", "data/synthetic.py", 0.1),
    "data.synthetic.drift": _constant("DRIFT", "data/synthetic.py", 0.1),
    "data.synthetic.sequels": _constant("SEQUELS", "data/synthetic.py", 3.0),
    "data.rl_share": Gone("set data.time_shares = [RL, VALIDATION, TEST]", 0.1),
    "data.validation_share": Gone("set data.time_shares = [RL, VALIDATION, TEST]", 0.1),
    "data.test_share": Gone("set data.time_shares = [RL, VALIDATION, TEST]", 0.1),
    "trm.heads": _constant("HEADS", "trm/model.py", 2),
    # Who fills the list was told in two places, with five names; two weights were set by hand.
    "rollout.answer": Gone("set rollout.list (free, masked or retrieved)", None),
    "inference.ranking": Gone("set rollout.list (free, masked or retrieved)", None),
    "rollout.reranker_history": Gone("set rollout.list_history", None),
    "rollout.reranker_weight": Gone("it is chosen on validation users now, and belongs to the policy", None),
    "trm.inner": Gone("it is four times trm.width now", lambda trm: 4 * trm.get("width", 64)),
    "trm.approximate_from": _constant("APPROXIMATE_FROM", "trm/index.py", 250_000),
    "trm.match_width": _constant("MATCH_WIDTH", "trm/model.py", 64),
    "trm.weight_average": _constant("AVERAGED", "trm/training.py", 0.999),
    "trm.weight_decay": _constant("WEIGHT_DECAY", "trm/training.py", 1e-4),
    "trm.preference_learning_rate": _constant("LEARNING_RATE", "trm/steering.py", 6e-3),
    "trm.preference_noise": _constant("NOISE_SHARE", "trm/steering.py", 0.4),
    "trm.text_only_share": _constant("TEXT_ONLY_SHARE", "trm/steering.py", 0.1),
    "warm_start.facts": Gone("a tiny policy is taught facts wherever warm_start.text_epochs is not 0", True),
    "warm_start.weight_decay": _constant("WEIGHT_DECAY", "rl/supervised.py", 0.01),
    "warm_start.reading_minutes": Gone("set warm_start.minutes, of which half is for reading", None),
    "rl.clip_low": Gone("set rl.clip = [LOW, HIGH]", 0.2),
    "rl.clip_high": Gone("set rl.clip = [LOW, HIGH]", 0.28),
    "rl.max_grad_norm": _constant("MAX_GRAD_NORM", "rl/trl.py", 1.0),
    "rl.adam_beta2": _constant("ADAM_BETA2", "rl/trl.py", 0.95),
    "rl.collapse_validity": Gone("set rl.collapse = {validity = LIMIT, ...}", 0.05),
    "rl.collapse_entropy": Gone("set rl.collapse = {entropy = LIMIT, ...}", 0.01),
    "rl.collapse_repetition": Gone("set rl.collapse = {repetition = LIMIT, ...}", 0.5),
    "rivals.plain.validation_users": _constant("VALIDATION_USERS", "rivals/tuning.py", 3000),
    "rivals.plain.als_iterations": _constant("ALS_ITERATIONS", "rivals/plain.py", 15),
    "rivals.plain.als_factors": _constant("ALS_FACTORS", "rivals/plain.py", [64, 128]),
    "rivals.plain.als_regularization": _constant("ALS_REGULARIZATIONS", "rivals/plain.py", [1.0, 10.0]),
    "rivals.plain.als_alpha": _constant("ALS_ALPHAS", "rivals/plain.py", [1.0, 10.0, 40.0, 100.0]),
    "rivals.plain.bpr_iterations": _constant("BPR_ITERATIONS", "rivals/plain.py", 50),
    "rivals.plain.bpr_factors": _constant("BPR_FACTORS", "rivals/plain.py", [64]),
    "rivals.plain.bpr_learning_rate": _constant("BPR_LEARNING_RATES", "rivals/plain.py", [0.02, 0.05]),
    "rivals.plain.bpr_regularization": _constant("BPR_REGULARIZATIONS", "rivals/plain.py", [0.001, 0.01]),
    "rivals.plain.asked_latest": _constant("LATEST", "rivals/asked.py", [3, 10]),
    "rivals.plain.asked_phrases": _constant("PHRASES", "rivals/asked.py", [1, 2]),
    "rivals.plain.asked_least": _constant("LEAST", "rivals/asked.py", [0.0, 0.5, 1.0, 1.5]),
    **{
        f"rivals.plain.rectools_{name}": _constant(f'SIZES["{name}"]', "rivals/rectools.py", value)
        for name, value in (
            ("width", 256), ("blocks", 2), ("heads", 4), ("dropout", 0.2), ("learning_rate", 0.001),
            ("epochs", 100), ("patience", 10),
        )
    },
    "rivals.plain.rectools_users_per_step": Gone("it follows from the number of users now", 128),
    "rivals.enhanced_trm.text_steps": _constant("TEXT_STEPS", "rivals/enhanced_trm/writer.py", 600),
    "rivals.enhanced_trm.features": Gone("set rivals.enhanced_trm.feature_tokens = 0 for none", True),
    "rivals.enhanced_trm.history": _constant("HISTORY", "rivals/enhanced_trm/prompts.py", 20),
    "rivals.enhanced_trm.phrases": _constant("PHRASES", "rivals/enhanced_trm/enriched.py", 10),
    "rivals.enhanced_trm.texts_per_batch": _constant("_TEXTS_TOGETHER", "rivals/enhanced_trm/enriched.py", 64),
    "rivals.enhanced_trm.augmented_items": _constant("AUGMENTED_ITEMS", "rivals/enhanced_trm/enriched.py", 2),
    "rivals.one_shot.title_vectors": Gone("a tiny model starts from the TRM's vectors wherever it has them", True),
    "rivals.one_shot.text_epochs": _constant("TEXT_EPOCHS", "rivals/one_shot/learning.py", 2),
    "rivals.one_shot.copies": _constant("COPIES", "rivals/one_shot/learning.py", 4800),
    "rivals.one_shot.validation_users": _constant("VALIDATION_USERS", "rivals/one_shot/learning.py", 1000),
    "rivals.item_tokens.heads": _constant("HEADS", "next_item/model.py", 2),
    "rivals.item_tokens.inner": Gone(
        "it is twice rivals.item_tokens.width now", lambda tokens: 2 * tokens.get("width", 64)
    ),
    "rivals.item_tokens.rqvae_steps": _constant("STEPS", "rivals/item_tokens/rqvae.py", 1500),
    "rivals.item_tokens.validation_users": _constant("VALIDATION_USERS", "next_item/training.py", 2000),
    "rivals.item_tokens.weight_average": _constant("AVERAGED", "next_item/training.py", 0.999),
    "rivals.item_tokens.weight_decay": _constant("WEIGHT_DECAY", "next_item/training.py", 1e-4),
    "rivals.item_tokens.precision": Gone("set trm.precision, which holds for these, too", "auto"),
    "serve.body_bytes": Gone("it follows from serve.history now (deeprec/serve/limits.py)", 262_144),
    "serve.body_seconds": _constant("BODY_SECONDS", "serve/limits.py", 10.0),
    "serve.title": _constant("TITLE", "serve/limits.py", 500),
    "serve.turns": _constant("TURNS", "serve/limits.py", 16),
    "serve.burst": Gone("it follows from serve.rate now (deeprec/serve/limits.py)", 100),
}  # fmt: skip
