"""A round trip through a real Orthanc, in a network of its own.

Orthanc listens on all interfaces, so it and its client run where there is only
loopback: in a network namespace that ends with them.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CLIENT = Path(__file__).with_name("round_trip.py")
SCRIPT = """
ip link set lo up
Orthanc "$1" > "$2/orthanc.log" 2>&1 &
server=$!
"$3" "$4" "$2"
code=$?
kill $server
wait $server
exit $code
"""


def why_not():
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        return "Orthanc with its DICOMweb plugin is not installed"
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "unshare and ip are not installed"
    tried = subprocess.run(
        ["unshare", "-n", "ip", "link", "set", "lo", "up"], capture_output=True
    )
    return "no right to make a network namespace" if tried.returncode else None


def test_what_is_stored_is_found_fetched_encoded_and_reported(tmp_path):
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    config = {
        "StorageDirectory": str(tmp_path),
        "IndexDirectory": str(tmp_path),
        "Plugins": [str(PLUGIN)],
        "HttpPort": 18042,
        "DicomPort": 14242,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"reader": "open sesame"},
        "DicomCheckCalledAet": False,
        **{
            f"DicomAlwaysAllow{what}": True
            for what in ("Echo", "Store", "Find", "Get", "Move")
        },
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(config))
    done = subprocess.run(
        [
            *("unshare", "-n", "--kill-child", "bash", "-c", SCRIPT, "door"),
            *(str(tmp_path / "orthanc.json"), str(tmp_path), sys.executable),
            str(CLIENT),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    log = (tmp_path / "orthanc.log").read_text()[-2000:]
    assert done.returncode == 0, done.stdout + done.stderr + log
    assert done.stdout.splitlines()[-1] == "all went well"
