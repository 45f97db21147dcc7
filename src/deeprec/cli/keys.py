"""`deeprec keys`: who may ask the service, and for what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deeprec.cli.options import JsonOption, print_json

app = typer.Typer(
    help="Keys of the service: names, scopes and tenants, in a file of hashes.", no_args_is_help=True
)

FileOption = Annotated[
    Path, typer.Option("--file", envvar="DEEPREC_KEYS", help="The file that `deeprec serve --keys` reads.")
]
NameArgument = Annotated[str, typer.Argument(help="Name of the key, as logs and limits call it.")]
DEFAULT_FILE = Path("keys.toml")


@app.command("add")
def add(
    name: NameArgument,
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="recommend; write (histories, feedback, forgetting); read (users and their histories); admin "
            "(/metrics, reload). Repeatable; none: recommend.",
        ),
    ] = None,
    tenant: Annotated[
        str,
        typer.Option(
            help="Whose users it sees; none: those of the data, shared by all keys without a tenant."
        ),
    ] = "",
    file: FileOption = DEFAULT_FILE,
    as_json: JsonOption = False,
) -> None:
    """Make a named key. It is printed now and never again: the file has its hash alone.

    A running service takes it within a second.

    Example: deeprec keys add web --scope recommend --scope write
    """
    from typing import cast

    from deeprec.serve.keyring import add_key
    from deeprec.serve.keys import Scope

    key = add_key(file, name, cast("list[Scope]", scopes or ["recommend"]), tenant)
    _print(as_json, name, key)


@app.command("rotate")
def rotate(name: NameArgument, file: FileOption = DEFAULT_FILE, as_json: JsonOption = False) -> None:
    """Renew a key: print a new secret, while the former ones still hold. `retire` ends these.

    Example: deeprec keys rotate web
    """
    from deeprec.serve.keyring import rotate_key

    _print(as_json, name, rotate_key(file, name))


@app.command("retire")
def retire(name: NameArgument, file: FileOption = DEFAULT_FILE) -> None:
    """Let all secrets of a key go but the newest, once everybody has that one.

    Example: deeprec keys retire web
    """
    from deeprec.serve.keyring import retire_secrets

    typer.echo(f"{name}: {retire_secrets(file, name)} former secrets are gone")


@app.command("remove")
def remove(name: NameArgument, file: FileOption = DEFAULT_FILE) -> None:
    """Take a key away. What its tenant's users left stays in the store.

    Example: deeprec keys remove web
    """
    from deeprec.serve.keyring import remove_key

    remove_key(file, name)
    typer.echo(f"{name} is removed")


@app.command("list")
def list_keys(file: FileOption = DEFAULT_FILE, as_json: JsonOption = False) -> None:
    """Names, tenants, scopes, and how many secrets hold.

    Example: deeprec keys list
    """
    from deeprec.serve.keyring import read_keys

    entries = read_keys(file).keys
    if as_json:
        print_json(
            [
                {"name": one.name, "tenant": one.tenant, "scopes": one.scopes, "secrets": len(one.sha256)}
                for one in entries
            ]
        )
        return
    for one in entries:
        tenant = f"tenant {one.tenant}" if one.tenant else "first tenant"
        typer.echo(f"{one.name:20} {tenant:28} {', '.join(one.scopes)} ({len(one.sha256)} secrets)")


def _print(as_json: bool, name: str, key: str) -> None:
    if as_json:
        print_json({"name": name, "key": key})
        return
    typer.echo(key)
    typer.secho("Keep it now: it is not stored, and can't be shown again.", err=True, fg="yellow")
