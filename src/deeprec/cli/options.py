"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from deeprec.config import RunConfig
    from deeprec.run import Run


def _fix_threads(number: int | None) -> None:
    from deeprec.threads import fix_threads

    fix_threads(number)


RunOption = Annotated[Path, typer.Option("--run", help="Run folder.", show_default=True)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. --set rl.users_per_step=32."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        callback=_fix_threads,
        expose_value=False,
        help="Threads to compute with; none: each stage measures what is faster.",
    ),
]
DEFAULT_RUN = Path("runs/default")
HERE = "local"  # what `--ray` means without an address
_ALONE = {
    "--ray": HERE,
    "--submit": "http://127.0.0.1:8265",
}  # what options mean that may stand without an address
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Have a Ray cluster do it (extra `ray`): HOST:PORT, ray://HOST:PORT or auto; none: one on this machine.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Workers on the cluster; none: as many as fit.")
]


class WithRay(TyperCommand):
    """A command whose `--ray` or `--submit` may stand alone, which Typer's options can't."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a lone option its address."""
        pairs = zip(args, [*args[1:], "--"], strict=False)
        given = [
            f"{one}={_ALONE[one]}" if one in _ALONE and after.startswith("-") else one for one, after in pairs
        ]
        return super().parse_args(ctx, given)


@contextmanager
def open_run(folder: Path, overrides: list[str] | None, *, beside: bool = False) -> Iterator[Run]:
    """The run at `folder` for a command that writes there, its settings changed by `--set`.

    Within the block no other process writes into it; `beside`: none but others that fit rivals. Settings that
    are refused before a stage begins with them are not kept.
    """
    from deeprec.config import override_config
    from deeprec.errors import DeepRecError
    from deeprec.locks import writing
    from deeprec.run import Run

    Run.open(folder)  # what is no run is refused before anything is put there
    with writing(folder, beside=beside):
        run = Run.open(folder)
        if overrides:
            run = Run.create(folder, override_config(run.config, overrides))
        try:
            yield run
        except DeepRecError:
            run.give_up()
            raise


def print_json(value: object) -> None:
    """Print a JSON-able value on standard output."""
    import json

    typer.echo(json.dumps(value, indent=1))


def beginning_settings(
    name: str | None,
    source: str | None,
    preset: str | None,
    file: Path | None,
    overrides: list[str] | None,
    before: Path | None = None,
) -> RunConfig:
    """Settings that a run begins with: the preset's and the file's, else those of the preset that fits the data.

    A file that says nothing but which data has the fitting preset beneath it, too. `before`: the settings of
    a run that is there already; it keeps them where neither is named.
    """
    from deeprec.config import load_config, preset_names, read_settings

    if preset is None and file is None and before is not None and before.is_file():
        file = before
    elif preset is None:
        said = {} if file is None else read_settings(file)
        if set(said) <= {"data", "seed"}:
            known = name or dict(said.get("data", {})).get("name")
            preset = known if known in preset_names() else "synthetic" if known is None else "default"
    config = load_config(preset, file, overrides or ())
    changes = {key: value for key, value in (("name", name), ("source", source)) if value is not None}
    return config.model_copy(update={"data": config.data.model_copy(update=changes)}) if changes else config
