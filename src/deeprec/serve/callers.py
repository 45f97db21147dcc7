"""What a route asks of who calls it: a scope, which their key must have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope as AsgiScope

from deeprec.serve.keys import Caller, Scope
from deeprec.serve.problems import Problem

_CALLER, _USER = "deeprec.caller", "deeprec.user"


def set_caller(scope: AsgiScope, caller: Caller) -> None:
    """Write down who sent a request."""
    scope[_CALLER] = caller


def caller_of(scope: AsgiScope) -> Caller | None:
    """Who sent it; None where nobody was asked."""
    found: Caller | None = scope.get(_CALLER)
    return found


def concerns(request: Request, user_id: str | None) -> None:
    """Write down whom a request is about, for the audit."""
    if user_id is not None:
        request.scope[_USER] = user_id


def user_of(scope: AsgiScope) -> str | None:
    """Whom it is about, by its path or its body; None where that isn't told."""
    found: str | None = scope.get("path_params", {}).get("user_id") or scope.get(_USER)
    return found


def _having(wanted: Scope) -> Callable[[Request], Caller]:
    def check(request: Request) -> Caller:
        caller = caller_of(request.scope)
        if caller is None or wanted not in caller.scopes:
            held = ", ".join(sorted(caller.scopes)) if caller else "none"
            raise Problem(403, f"this needs a key with the scope '{wanted}'; this one has: {held}")
        return caller

    return check


Recommends = Annotated[Caller, Depends(_having("recommend"))]
Writes = Annotated[Caller, Depends(_having("write"))]
Reads = Annotated[Caller, Depends(_having("read"))]
Administers = Annotated[Caller, Depends(_having("admin"))]
