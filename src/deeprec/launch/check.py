"""Whether OpenRLHF is here, and a cluster that is large enough: asked before a training that would wait in vain."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

from deeprec.errors import ClusterError, TrainingError, first_line

VERSION = "0.11.2"  # the one that was tried; its flags and its agent changed before


def check_engine() -> None:
    """Raise TrainingError where OpenRLHF is missing or of another version, with the command that installs it."""
    install = f'{sys.executable} -m pip install "openrlhf[vllm]=={VERSION}"'
    try:
        found = metadata.version("openrlhf")
    except metadata.PackageNotFoundError:
        raise TrainingError(
            f"OpenRLHF is not installed here: {install}, on each machine of the cluster, and deeprec beside it "
            "(docs/howto/openrlhf.md)"
        ) from None
    if found != VERSION:
        raise TrainingError(f"OpenRLHF {found} is installed, {VERSION} was tried: {install}")


def check_cluster(nodes: int, gpus: int) -> None:
    """Raise ClusterError where Ray finds fewer than `nodes` machines with `gpus` GPUs each.

    Joins the cluster that this machine belongs to; without one Ray takes this machine alone, as OpenRLHF would.
    """
    import ray

    try:
        ray.init(log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, OSError) as error:
        raise ClusterError(
            f"no Ray cluster answers ({first_line(error)}); start it with `ray start --head`"
        ) from None
    try:
        machines = ray.nodes()
    finally:
        ray.shutdown()
    require_gpus(machines, nodes, gpus)


def require_gpus(machines: list[dict[str, Any]], nodes: int, gpus: int) -> None:
    """Raise ClusterError unless `nodes` of Ray's machines that are alive have `gpus` GPUs each, naming what fits."""
    found = [int(one["Resources"].get("GPU", 0)) for one in machines if one["Alive"]]
    if sum(count >= gpus for count in found) >= nodes:
        return
    sizes = {size: sum(count >= size for count in found) for size in found if size}
    best = max(sizes, key=lambda size: (size * sizes[size], size), default=0)  # what uses the most of them
    fits = f"--nodes {sizes[best]} --gpus {best} fits" if best else "it has no GPU"
    shown = ", ".join(map(str, found)) or "no"
    raise ClusterError(
        f"the Ray cluster is too small for --nodes {nodes} --gpus {gpus}: its machines have {shown} GPUs; {fits}; join "
        "others with `ray start --address HEAD:6379`, or launch anew"
    )
