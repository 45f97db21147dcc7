"""What training a policy needs besides the core of the package."""

from __future__ import annotations

from importlib.util import find_spec

from deeprec.errors import MissingExtraError

_PACKAGES = ("trl", "accelerate", "datasets", "tensorboard")


def require_extra() -> None:
    """Raise MissingExtraError when what the extra `train` brings is not there; loads nothing."""
    if any(find_spec(package) is None for package in _PACKAGES):
        raise MissingExtraError("training a policy", "train")
