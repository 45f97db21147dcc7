"""The process: a socket, the server around the application, and its end."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from deeprec.errors import ConfigError
from deeprec.serve.connections import BoundedProtocol, Connections
from deeprec.serve.descriptors import share_out
from deeprec.serve.logs import quiet_loop
from deeprec.serve.service import Service
from deeprec.settings.serve import ServeConfig

_GRACE = 5  # seconds that requests in flight have to end
_SWITCH = 0.001  # seconds: the policy's thread lets the server's have its turn soon


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 picks a free one. Raises ConfigError for an address that can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, as asyncio turns off the waiting for a client's acknowledgement (40 ms) only where it is.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host.strip("[]"), port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise ConfigError(f"--host {host} --port {port}: can't be had ({error}); choose another") from None
    return bound


def address_of(bound: socket.socket) -> str:
    """Where a bound socket is reached, as a URL."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def build_server(app: ASGIApp, caps: ServeConfig) -> uvicorn.Server:
    """The server around the application; its own log of requests is off, as it has paths, and those have users."""
    logging.getLogger("uvicorn.access").disabled = True
    shares = share_out(caps.connections)
    connections = Connections(shares.connections, caps.idle_seconds)
    protocol: Any = partial(BoundedProtocol, connections=connections)
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        backlog=shares.waiting,
        timeout_keep_alive=math.ceil(caps.idle_seconds),
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)


def run_server(service: Service, app: ASGIApp, bound: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; requests in flight have a few seconds to end. SIGHUP loads the runs anew,
    unless a terminal may have sent it.

    Connections are accepted at once, and told that the runs are being loaded; `ready` is called when they are.
    Raises what is wrong with the runs.
    """
    sys.setswitchinterval(_SWITCH)
    server = build_server(app, service.caps)
    # The server raises the signal again when it has ended; then there is nothing left to do.
    former = {sign: signal.signal(sign, lambda *_: None) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        asyncio.run(_serve(server, service, bound, ready))
    finally:
        for sign, handler in former.items():
            signal.signal(sign, handler)


async def _serve(
    server: uvicorn.Server, service: Service, bound: socket.socket, ready: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    quiet_loop(loop)
    running = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started and not running.done():
        await asyncio.sleep(0.01)
    loading = _in_thread(service.load)
    await asyncio.wait({running, loading}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done() and loading.exception() is None:
        if not (sys.stdin and sys.stdin.isatty()):  # at a terminal it means that the terminal has gone
            loop.add_signal_handler(signal.SIGHUP, service.start_reload)
        ready()
    elif not running.done():
        server.should_exit = True
    await running
    if loading.done():
        loading.result()


def _in_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """The work in a thread that nobody waits for when the process ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as failure:  # raised where it is waited for
            error = failure
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="deeprec-load", daemon=True).start()
    return done
