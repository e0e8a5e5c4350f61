"""Manifests: tables that say what belongs to which study.

A manifest is a table with one row for each study (or for each image of a study):

=================  ============================================================
column             content
=================  ============================================================
``study``          the study's id; required
``patient``        the patient's id; required: splits and intervals go by it
``image``          a path or a list of paths below the root, or arrays; required
``view``           ``PA``, ``AP``, ``LATERAL``, or a list for several images
``report``         text, split at its headings, or a mapping of its sections
``findings_text``  the sections in columns of their own, with ``impression``
                   and ``indication``
``labels``         ``{finding: 1 | 0 | -1 | None}``; or a column per finding
``boxes``          ``[{"finding", "corners": [x0, y0, x1, y1]}]`` in pixels
``masks``          ``[{"finding", "path"}]``, or ``"mask"`` with an array
``attributes``     ``[{"finding", "side", "zone", "severity"}]``
``questions``      ``[{"question", "answer", "form", "topic"}]``
``split``          the part that the study belongs to
``record.*``       the clinical record: numbers or words
=================  ============================================================

In CSV, a list or mapping is written as JSON in its cell. Blank, ``null`` and NaN
mean missing. Columns of other names are left unread.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from carina import _core, _rows
from carina._files import PathLike
from carina._progress import Bar
from carina.dataset import Dataset


def open_dataset(
    manifest: Any,
    *,
    root: PathLike | None = None,
    findings: Sequence[str] | None = None,
    columns: Mapping[str, str | None] | None = None,
    progress: bool | None = None,
) -> Dataset:
    """Open the studies that a manifest names; the module's page has its columns.

    Parameters
    ----------
    manifest : path-like, DataFrame, Arrow table or iterable of dicts
        A ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file, or a table.
    root : path-like, optional
        What paths are relative to; the manifest's folder by default, or the
        current one for a table.
    findings : sequence of str, optional
        The findings to read, in this order; those named in ``labels`` by default.
    columns : mapping of str to str or None, optional
        For a column or finding of ours, its name in the manifest; ``None`` leaves
        the column unread.
    progress : bool, optional
        Whether to show a bar; in notebooks and terminals by default.

    Returns
    -------
    Dataset
        Several rows with one ``study`` and different images are one study.

    Raises
    ------
    ManifestError
        If no study can be made of a row; the message names file, line (or row)
        and column, what was found and what was expected. Also when one patient is
        in two splits.
    MissingFileError, FormatError
        If the manifest is not there or no table.

    Examples
    --------
    >>> rows = [{"study": 1, "patient": "a", "image": "a.png", "labels": {"edema": 1}}]
    >>> open_dataset(rows)
    Dataset(1 studies, 1 patients, 1 findings)
    """
    names = None if findings is None else [str(name) for name in findings]
    mapping = dict(columns or {})
    if isinstance(manifest, Dataset):
        return manifest
    is_path = isinstance(manifest, (str, os.PathLike))
    path = Path(manifest) if is_path else None
    base = Path(root) if root is not None else path.parent if path else Path()
    if path is not None and path.suffix.lower() not in (".parquet", ".pq"):
        with Bar("reading", show=progress, unit="study") as bar:
            core = _core.open_manifest(path, base, names, mapping, bar)
        return Dataset(core)
    if path is not None:
        path.stat()
    source = path.name if path is not None else "rows"
    return from_rows(
        _rows.chunks(manifest), source, root=base, findings=names, columns=mapping
    )


def from_rows(
    chunks: Iterable[Iterable[Any]],
    source: str,
    *,
    root: PathLike = ".",
    findings: Sequence[str] | None = None,
    columns: Mapping[str, str | None] | None = None,
) -> Dataset:
    """Make a data set of lists of rows; errors call their origin `source`."""
    mapping = dict(columns or {})
    names = None if findings is None else list(findings)
    builder = _core.ManifestBuilder(source, Path(root), names, mapping)
    number = 0
    for chunk in chunks:
        portion = _rows.Portion(source, mapping)
        for offset, row in enumerate(chunk):
            portion.add(number + offset, row)
        builder.push(number, portion.rows, portion.images, portion.masks)
        number += len(portion.rows)
    return Dataset(builder.finish())
