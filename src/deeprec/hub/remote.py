"""The Hugging Face hub as a place for pushed runs; its ids are written `hf://OWNER/NAME`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

from deeprec.errors import HubError, first_line

PREFIX = "hf://"  # else a folder that is not there yet could be mistaken for a repository, and sent away


def repository(place: str) -> str | None:
    """The hub's id in `hf://OWNER/NAME`; None for a folder. Raises HubError for an id that can't be.

    >>> repository("hf://me/films"), repository("me/films")
    ('me/films', None)
    """
    if not place.startswith(PREFIX):
        return None
    name = place.removeprefix(PREFIX)
    if name.count("/") != 1 or not all(name.split("/")):
        raise HubError(f"{place}: is no repository; write hf://OWNER/NAME")
    return name


def upload(folder: Path, name: str, *, public: bool) -> str:
    """Send a pushed run to the hub, into a new repository or the next commit of an old one; returns its address."""
    from huggingface_hub import HfApi

    with _told(name):
        api = HfApi()
        repo = api.create_repo(name, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=name, folder_path=folder, commit_message="deeprec push", delete_patterns=["deeprec/*"]
        )
        return str(repo)


@contextmanager
def downloaded(name: str) -> Iterator[Path]:
    """A folder with the files of a repository, gone after the block."""
    from huggingface_hub import snapshot_download

    with tempfile.TemporaryDirectory(prefix="deeprec-") as folder:
        with _told(name):
            snapshot_download(name, local_dir=folder)
        yield Path(folder)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What the hub refuses is a HubError that names the repository, and what to do."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    unreachable: tuple[type[Exception], ...] = (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OSError,
        *_transport_errors(),
    )
    try:
        yield
    except (HFValidationError, LocalTokenNotFoundError) as error:
        raise HubError(f"{PREFIX}{name}: {first_line(error)}; see `hf auth login` and the name") from None
    except OfflineModeIsEnabled as error:
        raise HubError(
            f"{PREFIX}{name}: the hub is switched off (HF_HUB_OFFLINE): {first_line(error)}"
        ) from None
    except unreachable as error:
        raise HubError(
            f"{PREFIX}{name}: the hub refuses or can't be reached ({first_line(error)}); try again, or push to a "
            "folder and carry that over"
        ) from None


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises where nothing answers: it is built on httpx, and from its version 2 on httpx2."""
    found: list[type[Exception]] = []
    for library in ("httpx", "httpx2"):
        with suppress(ImportError):
            found.append(import_module(library).HTTPError)
    return tuple(found)
