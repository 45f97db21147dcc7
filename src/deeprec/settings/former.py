"""What an older run folder meant by settings that are gone (`gone.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeprec.errors import RunError

_LISTS = {"written": "free", "generate": "free", "retrieved": "retrieved"}


def upgrade(values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Settings of a run folder, an older one's under today's names.

    Raises RunError for a run whose lists were filled in a way that is gone.
    """
    upgraded = {name: dict(own) if isinstance(own, Mapping) else own for name, own in values.items()}
    warm_start = upgraded.get("warm_start", {})
    if isinstance(warm_start, dict) and "reading_minutes" in warm_start:
        minutes = warm_start.pop("reading_minutes")
        warm_start.setdefault("minutes", 2 * minutes)
    rollout, inference = upgraded.get("rollout", {}), upgraded.get("inference", {})
    if not isinstance(rollout, dict) or not isinstance(inference, dict) or "list" in rollout:
        return upgraded
    answer, ranking = rollout.pop("answer", None), inference.pop("ranking", None)
    used = ranking if answer in (None, "written") else answer
    if used is None:
        return upgraded
    if used not in _LISTS:
        raise RunError(
            f"{place}: this run's lists were made by '{used}', which is gone: the policy draws its own now "
            "(rollout.list = 'masked'), and has to learn it. Make the run again in another folder, with `deeprec "
            "quickstart --data NAME --run FOLDER`"
        )
    rollout["list"] = _LISTS[used]
    for name in ("reranker_weight", "reranker_history"):
        rollout.pop(name, None)
    return upgraded
