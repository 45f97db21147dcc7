"""Where models run, and in how many processes."""

from __future__ import annotations

import os

from deeprec.errors import ConfigError

# Where torchrun, accelerate and the launchers of MPI say how many processes they started.
_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def best_device() -> str:
    """`cuda` where torch sees a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str) -> None:
    """Raise ConfigError for a device that models can't be put on here: neither `cpu` nor a GPU that torch sees."""
    import torch

    gpus = [f"cuda:{place}" for place in range(torch.cuda.device_count())]
    usable = ["cpu", *gpus]
    if name not in usable and not (name == "cuda" and gpus):
        raise ConfigError(f"--device '{name}': choose among {', '.join(usable)}")


def check_one_process() -> None:
    """Raise ConfigError in one of several processes that a launcher started for one command.

    Each would make the whole run, in one folder: examples would be trained on twice, figures be one process's, and
    the processes write over each other.
    """
    for name in _COUNTS:
        count = os.environ.get(name, "")
        if count.isdigit() and int(count) > 1:
            raise ConfigError(
                f"{name} = {count}: this is one of {count} processes of one command, and a run is made by one process "
                f"on one GPU; start the command without torchrun, accelerate launch or mpirun (or unset {name})"
            )


def check_one_gpu() -> None:
    """Raise ConfigError where training would be split over several GPUs: the sizes of an update don't allow for it."""
    import torch

    count = torch.cuda.device_count()
    if count > 1:
        raise ConfigError(
            f"{count} GPUs are visible, and training uses one; name it, as with CUDA_VISIBLE_DEVICES=0"
        )
