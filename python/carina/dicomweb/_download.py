"""Studies in a folder: whole files, and only those that are not there yet."""

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carina._files import replace
from carina._progress import Bar
from carina.dicomweb import fetched
from carina.errors import AccessError, CarinaError, FileError
from carina.table import Table

if TYPE_CHECKING:
    from carina.dicomweb.server import Server

_ABANDONED = 3600.0  # seconds


def download(
    server: "Server",
    chosen: list[fetched.Place],
    folder: Path,
    modality: str | Sequence[str] | None,
    progress: bool | None,
) -> Table:
    """Fetch every series; see :meth:`Server.download`."""
    if folder.exists() and not folder.is_dir():
        raise FileError(f"folder: {folder}: expected a folder, found a file")
    rows: list[dict[str, Any]] = []
    patience = fetched.Patience()
    with Bar("downloading", show=progress, unit="study") as bar:
        for done, (study, series) in enumerate(chosen):
            bar(done, len(chosen), [])
            problem: Exception | None = None
            try:
                found = server.find(
                    "series", study=study, series=series, modality=modality
                )
                kept = found["series"].tolist()
            except AccessError:
                raise
            except CarinaError as error:
                problem, kept = error, []
                rows.append(_row(study, series or "", error=str(error)))
            for uid in kept:
                row, problem = _series(server, study, uid, folder)
                rows.append(row)
            patience.watch(problem)
        bar(len(chosen), len(chosen), [])
    names = list(_row("", ""))
    columns = {name: [row[name] for row in rows] for name in names}
    return Table(columns, hidden=("study", "series"))


def _row(study: str, series: str, **facts: Any) -> dict[str, Any]:
    empty = {"folder": "", "written": 0, "present": 0, "error": ""}
    return {"study": study, "series": series, **empty, **facts}


def _series(
    server: "Server", study: str, series: str, folder: Path
) -> tuple[dict[str, Any], Exception | None]:
    """Write what is missing of a series."""
    place = folder / token(study) / token(series)
    written = present = 0
    problem: CarinaError | None = None
    try:
        # More than any series has: a list cut short would look complete.
        listed = server.find("instances", study=study, series=series, limit=100_000)
        names = listed["instance"].tolist()
        missing = {uid for uid in names if not (place / f"{token(uid)}.dcm").is_file()}
        present = len(names) - len(missing)
        _sweep(place)
        if missing:
            place.mkdir(parents=True, exist_ok=True)
        for file in _files(server, study, series, missing, present == 0):
            uid = str(fetched.header(file).get("SOPInstanceUID", ""))
            if uid in missing:
                with replace(place / f"{token(uid)}.dcm") as out:
                    out.write(file)
                written += 1
                missing.discard(uid)
        if missing:
            raise CarinaError(f"the server lists {len(missing)} files and gave none")
    except AccessError:
        raise
    except CarinaError as error:
        problem = error
    except OSError as error:
        why = error.strerror or type(error).__name__
        problem = FileError(f"the folder cannot be written: {why}")
    facts = {"written": written, "present": present, "error": str(problem or "")}
    return _row(study, series, folder=str(place), **facts), problem


def _files(
    server: "Server", study: str, series: str, missing: set[str], whole: bool
) -> Iterator[bytes]:
    """Yield the missing files: in one stream, or one by one after a break."""
    if whole and missing:
        yield from server.instances(study, series=series)
    elif not whole:
        for uid in sorted(missing):
            yield from server.instances(study, series=series, instance=uid)


def _sweep(place: Path) -> None:
    """Remove what a download that was killed has left of files.

    A file is written in one go: nobody is at one that has not changed for an hour.
    """
    for part in place.glob(".*.dcm.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()


def token(uid: str) -> str:
    """Return a name that stands for a UID and does not show it."""
    return hashlib.sha256(uid.encode()).hexdigest()[:20]
