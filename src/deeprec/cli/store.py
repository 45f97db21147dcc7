"""`deeprec store`: what the service keeps of users."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli.options import DEFAULT_RUN, JsonOption, RunOption, print_json

if TYPE_CHECKING:
    from deeprec.store import Store

app = typer.Typer(help="Histories and feedback that the service keeps.", no_args_is_help=True)

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="DEEPREC_STORE",
        help="sqlite:///PATH, or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE; none: the file in the run's folder.",
    ),
]
TenantOption = Annotated[str, typer.Option("--tenant", help="Whose users; none: the first tenant's.")]
_WAIT = 10.0  # seconds: a command may wait longer for its turn than a request


@app.command("info")
def info(
    store: StoreOption = None,
    tenant: TenantOption = "",
    run: RunOption = DEFAULT_RUN,
    as_json: JsonOption = False,
) -> None:
    """Schema version, and how much is stored of a tenant's users.

    Example: deeprec store info --run runs/shop
    """
    from dataclasses import asdict

    with _open(store, run) as opened:
        found, others = opened.of(tenant).info(), opened.tenants()
    if as_json:
        print_json({**asdict(found), "tenant": tenant, "tenants": others})
        return
    kinds = ", ".join(f"{count:,} {kind}s" for kind, count in found.feedback.items())
    typer.echo(f"Store      {found.url}")
    typer.echo(f"Schema     {found.schema}")
    if tenant or any(others):
        typer.echo(
            f"Tenant     {tenant or 'the first'} of: {', '.join(one or 'the first' for one in others)}"
        )
    typer.echo(f"Users      {found.users:,} known, {found.forgotten:,} forgotten")
    typer.echo(f"Histories  {found.histories:,} with {found.history_entries:,} entries")
    typer.echo(f"Feedback   {kinds}")


@app.command("export")
def export(
    folder: Annotated[Path, typer.Option("--to", help="New folder for the files.")],
    store: StoreOption = None,
    tenant: TenantOption = "",
    run: RunOption = DEFAULT_RUN,
    as_json: JsonOption = False,
) -> None:
    """Write the run's data with all that users did since, ready for the next training.

    Stored histories take the place of the run's, clicks and ratings are added, forgotten users are left out.
    The run's users are the first tenant's: the export of another one has its own users alone.

    Example: deeprec store export --run runs/shop --to exports/may
    """
    from dataclasses import asdict

    from deeprec.run import Run
    from deeprec.store.export import WISHES, write_export

    opened_run = Run.open(run)
    with _open(store, run) as opened:
        done = write_export(opened.of(tenant), opened_run, folder)
    if as_json:
        print_json({**asdict(done), "config": str(done.config)})
        return
    typer.echo(
        f"{folder}: {done.interactions:,} interactions of {done.users:,} users (the run had "
        f"{done.run_interactions:,}); {done.forgotten_users:,} forgotten users left out"
    )
    if done.unknown_items:
        typer.echo(
            f"{done.unknown_items:,} interactions are with items that the run doesn't know: add these to "
            f"{folder / 'items.parquet'}, or training leaves them out"
        )
    if done.wishes:
        typer.echo(f"{done.wishes:,} times feedback brought what its user had said: {folder / WISHES}")
    typer.echo(f"Now try: deeprec quickstart --config {done.config} --run runs/next")


@app.command("forget")
def forget(
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    store: StoreOption = None,
    tenant: TenantOption = "",
    run: RunOption = DEFAULT_RUN,
    as_json: JsonOption = False,
) -> None:
    """Delete all that is stored of a user, who stays forgotten: the service and later exports leave them out.

    Runs that were trained before still hold what they were trained with.

    Example: deeprec store forget u17 --run runs/shop
    """
    with _open(store, run) as opened:
        known = opened.of(tenant).delete_user(user)
    if as_json:
        print_json({"user_id": user, "was_stored": known})
    else:
        typer.echo(f"Forgotten: {user}" + ("" if known else " (nothing was stored of them)"))


@app.command("pseudonym")
def pseudonym(
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    store: StoreOption = None,
    tenant: TenantOption = "",
    run: RunOption = DEFAULT_RUN,
) -> None:
    """What stands for a user in the service's audit lines.

    Example: deeprec store pseudonym u17 --run runs/shop
    """
    with _open(store, run) as opened:
        typer.echo(opened.of(tenant).pseudonym(user))


def _open(url: str | None, run: Path) -> Store:
    """A store that is there already, as `deeprec serve` finds it: a mistyped path makes none."""
    from deeprec.store import open_store

    return open_store(url or f"sqlite:///{run.resolve() / 'store.db'}", create=False, wait=_WAIT)
