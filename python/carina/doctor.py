"""What the machine offers, and what of the package works on it."""

import importlib.util
import os
import platform
import sys
from pathlib import Path

from carina import _core
from carina.table import Table

_EXTRAS = {
    "plots": ("matplotlib",),
    "frames": ("pandas", "pyarrow"),
    "index": ("lancedb",),
    "notebooks": ("ipykernel", "jupyterlab"),
    "test": ("hypothesis", "nbmake", "pydicom", "pytest", "sklearn"),
}


def doctor() -> Table:
    """Say what the package found on this machine.

    Returns
    -------
    Table
        Columns ``what`` and ``found``; nothing is changed and no socket is opened.
    """
    core = _core.doctor_facts()
    facts = {"carina": core.pop("core version")}
    facts["python"] = f"{platform.python_version()} on {sys.platform}"
    facts.update(core)
    facts["processors"] = f"{os.cpu_count()} seen, {_quota()} allowed"
    facts["dicom"] = "uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000"
    facts["films"] = "PNG, JPEG, TIFF; 8 and 16 bit"
    facts["cache folder"] = "none, unless a call names one"
    size = Path(_core.__file__ or "").stat().st_size
    facts["size of the core"] = f"{size / 2**20:.1f} MiB"
    for extra, modules in _EXTRAS.items():
        missing = [m for m in modules if importlib.util.find_spec(m) is None]
        state = f"missing {', '.join(missing)}" if missing else "installed"
        facts[f"extra {extra}"] = state
    return _Findings({"what": list(facts), "found": list(facts.values())})


class _Findings(Table):
    """A table that shows its texts whole: a reason cut short helps nobody."""

    __slots__ = ()
    _max_text = 500


def _quota() -> str:
    """Count the processors that a container's quota leaves."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return f"{int(quota) / int(period):g}"
    except (OSError, ValueError):
        usable = getattr(os, "sched_getaffinity", None)
        return str(len(usable(0))) if usable else str(os.cpu_count())
