"""The page: files of this package, each under its own path."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.staticfiles import StaticFiles

from deeprec.serve.problems import Problem

FOLDER = Path(__file__).parent / "page"


def add_page(app: FastAPI, folder: Path = FOLDER) -> None:
    """Serve every file of `folder`, and its `index.html` at `/`; a clear 404 where there is none.

    One route a file: a folder mounted at `/` would also answer for wrong methods of the API.
    """
    if not (folder / "index.html").is_file():

        @app.get("/", include_in_schema=False)
        async def no_page() -> Response:
            raise Problem(404, "this installation has no page; the API is described in /openapi.json")

        return
    files = StaticFiles(directory=folder)
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.name.startswith("."):
            continue
        name = file.relative_to(folder).as_posix()
        for path in (f"/{name}", "/") if name == "index.html" else (f"/{name}",):
            _add_file(app, files, path, name)


def _add_file(app: FastAPI, files: StaticFiles, path: str, name: str) -> None:
    async def send(request: Request) -> Response:
        return await files.get_response(name, request.scope)

    app.add_route(path, send, methods=["GET", "HEAD"], include_in_schema=False)
