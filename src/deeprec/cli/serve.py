"""`deeprec serve`: the HTTP service and its page."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli.options import DEFAULT_RUN, SetOption

if TYPE_CHECKING:
    from deeprec.serve.loading import Remote


class EngineKind(StrEnum):
    """Where the policy runs."""

    LOCAL = "local"
    OPENAI = "openai"


def serve(
    folder: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="Run folder.")] = None,
    run: Annotated[Path, typer.Option("--run", help="The same as an option.")] = DEFAULT_RUN,
    compare: Annotated[
        list[Path] | None, typer.Option("--compare", help="A further run, for side by side; repeatable.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Policy: warm_start, cold_start, recommendation.")] = None,
    host: Annotated[str, typer.Option(help="Address; any but loopback needs an API key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8000,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A name that clients know this service by; repeatable."),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the API key; or set DEEPREC_API_KEY.")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            envvar="DEEPREC_KEYS",
            help="File with named keys, see `deeprec keys`; read again when it changes.",
        ),
    ] = None,
    audit: Annotated[Path | None, typer.Option(help="File for a line on each request about a user.")] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", envvar="DEEPREC_STORE", help="Histories and feedback; none: RUN/store.db (SQLite)."
        ),
    ] = None,
    engine: Annotated[
        EngineKind, typer.Option(help="`openai`: the policy is on a server.")
    ] = EngineKind.LOCAL,
    base_url: Annotated[
        str | None, typer.Option(help="For openai: the server, such as http://127.0.0.1:8001/v1.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="For openai: the server's name of the policy.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="For openai: environment variable with the server's key.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="For openai: the server's context; none: the policy's.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log a line for each request.")] = False,
    overrides: SetOption = None,
) -> None:
    """Serve recommendations over HTTP, with a page to look at them. Ctrl-C ends it.

    Example: deeprec serve runs/quickstart
    """
    from deeprec.errors import MissingExtraError, RunError
    from deeprec.stages import POLICY_STAGES

    if stage is not None and stage not in POLICY_STAGES:
        raise RunError(f"--stage '{stage}': choose {', '.join(POLICY_STAGES[:-1])} or {POLICY_STAGES[-1]}")
    remote = _remote(engine, base_url, model, api_key_env, context)
    key = _key(api_key_file)
    _check_reach(host, has_key=key is not None or keys is not None)
    try:
        from deeprec.serve.app import create_app
        from deeprec.serve.audit import Audit
        from deeprec.serve.keyring import Keyring
        from deeprec.serve.limits import LOOPBACK_NAMES
        from deeprec.serve.loading import Plan, open_service
        from deeprec.serve.logs import set_up_logs
        from deeprec.serve.server import address_of, listen, run_server
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "deeprec":
            raise
        raise MissingExtraError("deeprec serve", "serve") from None
    set_up_logs(verbose=verbose)
    keyring = Keyring(key, keys)
    bound = listen(host, port)
    with bound:
        plan = Plan((folder or run, *(compare or [])), stage, remote, tuple(overrides or ()))
        service, trouble = open_service(plan, store)
        if trouble is not None:
            typer.secho(f"without its store for now: {trouble}", err=True, fg="yellow")
        hosts = {*LOOPBACK_NAMES, *(allowed_host or []), f"[{host}]" if ":" in host else host}
        address = address_of(bound)
        lines = None if audit is None else Audit(audit, service.door)
        run_server(
            service,
            create_app(service, keyring=keyring, hosts=hosts, audit=lines),
            bound,
            lambda: typer.echo(f"deeprec serves on {address}"),
        )


def _remote(
    engine: EngineKind, base_url: str | None, model: str | None, api_key_env: str | None, context: int | None
) -> Remote | None:
    import os

    from deeprec.errors import ConfigError

    if engine is EngineKind.LOCAL:
        for name, value in (("--base-url", base_url), ("--model", model), ("--api-key-env", api_key_env)):
            if value is not None:
                raise ConfigError(f"{name} {value}: is for a server; add --engine openai")
        return None
    from deeprec.serve.loading import Remote

    if base_url is None or model is None:
        raise ConfigError("--engine openai needs --base-url URL and --model NAME")
    key = None if api_key_env is None else os.environ.get(api_key_env)
    if api_key_env is not None and not key:
        raise ConfigError(f"--api-key-env {api_key_env}: no such variable is set; export it first")
    return Remote(base_url, model, key, context)


def _key(file: Path | None) -> str | None:
    """The API key, of the file or the environment."""
    import os

    from deeprec.errors import ConfigError
    from deeprec.serve.keys import check_key

    if file is None:
        key = os.environ.get("DEEPREC_API_KEY")
        return None if key is None else check_key(key)
    try:
        return check_key(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api-key-file {file}: can't be read ({error}); write the key into it") from None


def _check_reach(host: str, *, has_key: bool) -> None:
    from deeprec.errors import ConfigError
    from deeprec.serve.keys import is_loopback

    if not has_key and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: others could reach it, so an API key is needed; set DEEPREC_API_KEY, --api-key-file "
            "or --keys"
        )
