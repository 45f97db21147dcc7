"""Data sets that can be fetched: address, checksum, size; download with resume."""

from __future__ import annotations

import errno
import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from deeprec.data.files import hash_file
from deeprec.disk import alone
from deeprec.errors import DownloadError
from deeprec.progress import progress_bar

_PIECE = 1 << 16
_TIMEOUT = 30  # seconds without a byte
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


@dataclass(frozen=True, slots=True)
class Download:
    """A file on a public host."""

    url: str
    bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Last part of the address."""
        return self.url.rsplit("/", 1)[-1]


DOWNLOADS = {
    "ml-100k": Download(
        "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        4_924_029,
        "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    ),
    "ml-1m": Download(
        "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        5_917_549,
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    ),
}

# Where people get what can't be fetched here: no fixed content, or terms to be agreed to.
PAGES = {
    **dict.fromkeys(
        ("ml-latest", "ml-latest-small", "ml-20m", "ml-25m", "ml-32m"),
        "it is at https://grouplens.org/datasets/movielens/",
    ),
    "amazon-reviews": "they are at https://amazon-reviews-2023.github.io/",
    "steam": "it is at https://cseweb.ucsd.edu/~jmcauley/datasets.html",
    "goodreads": "it is at https://mengtingwan.github.io/data/goodreads.html",
    "yelp": "it is at https://www.yelp.com/dataset",
    "mind": "it is at https://msnews.github.io/",
    "lastfm-1k": "it is at http://ocelma.net/MusicRecommendationDataset/lastfm-1K.html",
    "bookcrossing": "it is on Kaggle as the Book-Crossing dataset",
}


def default_cache() -> Path:
    """Folder for downloads: `$DEEPREC_CACHE`, else `deeprec` in the user's cache folder."""
    if "DEEPREC_CACHE" in os.environ:
        return Path(os.environ["DEEPREC_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "deeprec"


def download(name: str, cache: Path | None = None) -> Path:
    """Fetch a known data set, or find it in the cache; returns the archive.

    An interrupted download goes on where it stopped. Raises DownloadError with the manual
    way when the host can't be reached, the checksum is wrong, or the disk is full.
    """
    return fetch(name, DOWNLOADS[name], cache or default_cache())


def fetch(name: str, wanted: Download, folder: Path) -> Path:
    """Fetch one file into `folder` and check it; see `download`."""
    file = folder / wanted.file_name
    part = file.with_name(file.name + ".part")
    if _is_there(file, wanted):
        return file
    manual = (
        f"fetch {wanted.url} by hand and name it with --source PATH, or put it at {file} "
        f"(sha256 {wanted.sha256})"
    )
    try:
        with alone(file):  # whoever else fetches it waits, and finds it
            if not _is_there(file, wanted):
                _transfer(wanted, part)
                _take(name, wanted, part, manual)
        return file
    except DownloadError:
        raise
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"'{name}' can't be downloaded from {wanted.url} ({reason}); {manual}") from None
    except OSError as error:
        if error.errno in _DISK:
            problem = f"'{name}' can't be written ({error.strerror})"
            raise DownloadError(f"{folder}: {problem}; free some space, or {manual}") from None
        raise DownloadError(f"'{name}' can't be downloaded from {wanted.url} ({error}); {manual}") from None


def _is_there(file: Path, wanted: Download) -> bool:
    return file.is_file() and hash_file(file).sha256 == wanted.sha256


def _take(name: str, wanted: Download, part: Path, manual: str) -> None:
    """Give what was fetched its name; raises DownloadError where it is not what was wanted."""
    found = hash_file(part)
    if found.sha256 == wanted.sha256:
        part.replace(part.with_name(wanted.file_name))
        return
    short = found.bytes < wanted.bytes
    if not short:
        part.unlink()
    problem = (
        f"stopped after {found.bytes} of {wanted.bytes} bytes" if short else f"has sha256 {found.sha256}"
    )
    remedy = "run the command again to go on" if short else manual
    raise DownloadError(f"'{name}' from {wanted.url} {problem}, expected {wanted.sha256}; {remedy}")


def _transfer(wanted: Download, part: Path) -> None:
    """Append to `part` what is still missing."""
    have = part.stat().st_size if part.exists() else 0
    if have >= wanted.bytes:  # a whole file is checked by the caller, a longer one is not ours
        if have > wanted.bytes:
            part.unlink()
        else:
            return
        have = 0
    request = urllib.request.Request(wanted.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        resumed = have > 0 and response.status == 206
        with (
            part.open("ab" if resumed else "wb") as stream,
            progress_bar(wanted.file_name, wanted.bytes) as bar,
        ):
            bar.advance(have if resumed else 0)
            while piece := response.read(_PIECE):
                stream.write(piece)
                bar.advance(len(piece))
