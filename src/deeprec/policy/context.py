"""What helps where a policy's context is too short: that depends on whose limit it is."""

from __future__ import annotations

from deeprec.config import PolicyConfig


def longer_context(policy: PolicyConfig) -> str:
    """What to do about it, as the end of a sentence.

    >>> longer_context(PolicyConfig())
    'raise policy.context'
    """
    if policy.model == "tiny":
        return "raise policy.context"
    return f"take a model with a longer context than '{policy.model}' has"
