"""Certificates, made when a test asks for them."""

import shutil
import ssl
import subprocess
from types import SimpleNamespace

import pytest


def run(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


def signed(folder, name, authority, *, names, valid=("-days", "2")):
    """Make a certificate and its key."""
    key, asked, made = (folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
    run(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-keyout", key, "-out", asked, "-subj", f"/CN={name}"),
    )
    facts = folder / f"{name}.ext"
    facts.write_text(f"subjectAltName={names}\n")
    run(
        *("x509", "-req", "-in", asked, "-CA", authority, "-out", made),
        *("-CAkey", authority.with_suffix(".key"), "-CAcreateserial"),
        *("-extfile", facts, *valid),
    )
    return made, key


def server_side(pair, authority=None):
    """What a server encrypts with; whom it lets in, if not everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority)
    return context


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """An authority, and certificates of it: right, expired, and for another host."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("pki")
    for name in ("authority", "another"):
        run(
            *("req", "-x509", "-newkey", "ec", "-days", "2", "-nodes"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"),
            *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
        )
    authority = folder / "authority.pem"
    here = "DNS:localhost,IP:127.0.0.1"
    made = {
        "server": signed(folder, "server", authority, names=here),
        "client": signed(folder, "client", authority, names="DNS:reader"),
        "elsewhere": signed(folder, "elsewhere", authority, names="DNS:elsewhere"),
        "expired": signed(
            folder, "expired", authority, names=here, valid=("-days", "-1")
        ),
    }
    locked = folder / "locked.key"
    run("ec", "-aes128", "-passout", "pass:x", "-in", made["client"][1], "-out", locked)
    return SimpleNamespace(
        authority=authority, another=folder / "another.pem", locked=locked, **made
    )
