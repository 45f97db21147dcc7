"""`deeprec push` and `deeprec pull`: runs for others, as a folder or on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    target: Annotated[str, typer.Argument(help="A folder, or hf://OWNER/NAME.")],
    stage: Annotated[
        str | None, typer.Option(help="Policy that is pushed; none: the last one trained.")
    ] = None,
    histories: Annotated[
        bool,
        typer.Option("--histories", help="Users' histories, too, and all that shows a user: personal data."),
    ] = False,
    licence: Annotated[
        str, typer.Option("--license", help="Licence of what is pushed, as the hub calls it.")
    ] = "other",
    public: Annotated[bool, typer.Option("--public", help="On the hub: for everybody to see.")] = False,
) -> None:
    """Write a run for others: policy, TRM, catalogue, settings and a card, without its users.

    Example: deeprec push runs/ml-100k hf://me/films
    """
    import tempfile

    from deeprec.hub.card import licence_notes
    from deeprec.hub.push import push_to_folder
    from deeprec.hub.remote import repository, upload
    from deeprec.run import Run

    opened, name = Run.open(run), repository(target)
    if name is None:
        manifest = push_to_folder(opened, Path(target), stage=stage, histories=histories, licence=licence)
        place = target
    else:
        with tempfile.TemporaryDirectory(prefix="deeprec-") as folder:
            made = Path(folder) / "pushed"
            manifest = push_to_folder(opened, made, stage=stage, histories=histories, licence=licence)
            place = upload(made, name, public=public)
    people = "with users' histories: personal data" if histories else "without users' histories"
    typer.echo(f"{place}: policy of '{manifest.stage}', {len(manifest.files)} files, {people}")
    for note in licence_notes(opened):
        typer.echo(f"  {note}")


def pull(
    source: Annotated[str, typer.Argument(help="A pushed folder, or hf://OWNER/NAME.")],
    run: Annotated[Path, typer.Argument(help="Folder of the run that is made of it.")],
) -> None:
    """Make a run of a pushed one: it recommends and serves, and with users' histories trains.

    Example: deeprec pull hf://me/films runs/films
    """
    from deeprec.hub.pull import pull_from_folder
    from deeprec.hub.remote import downloaded, repository

    name = repository(source)
    if name is None:
        made = pull_from_folder(Path(source), run, source)
    else:
        with downloaded(name) as folder:
            made = pull_from_folder(folder, run, source)
    typer.echo(
        f"{run}: policy of '{made.last_policy().name}' on {made.config.data.name}; "
        f"`deeprec doctor {run}` proves it whole"
    )
