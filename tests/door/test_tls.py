"""Encrypted connections: those that come about, and why the others do not."""

import ssl
from pathlib import Path

import pytest
from carina import dicomweb
from carina.errors import (
    FormatError,
    InvalidValueError,
    MissingFileError,
    ServerError,
)

from .pki import server_side

NOTHING = (200, {}, b"[]")


@pytest.fixture
def secure(fake, pki):
    """Start a server with a certificate; give the client."""

    def start(name="server", *, wants=None, **options):
        tls = server_side(getattr(pki, name), wants)
        return fake(lambda _: NOTHING, tls=tls, **options)[0]

    return start


@pytest.mark.parametrize("kind", [str, Path])
def test_a_server_of_a_trusted_authority_is_talked_to(secure, pki, kind):
    assert len(secure(verify=kind(pki.authority)).find()) == 0


def test_the_environments_authorities_are_trusted_unless_others_are_named(
    secure, pki, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki.authority))
    assert len(secure().find()) == 0
    with pytest.raises(ServerError, match="not trusted; see verify"):
        secure(verify=pki.another).find()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki.another))
    assert len(secure(verify=pki.authority).find()) == 0
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "nowhere.pem")
    with pytest.raises(ServerError, match="see REQUESTS_CA_BUNDLE"):
        secure().find()


def test_a_server_that_wants_our_certificate_gets_it(secure, pki):
    options = {"wants": pki.authority, "verify": pki.authority}
    assert len(secure(cert=pki.client, **options).find()) == 0
    whole = pki.authority.with_name("whole.pem")
    whole.write_bytes(b"".join(path.read_bytes() for path in pki.client))
    assert len(secure(cert=whole, **options).find()) == 0


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("server", {}, "its certificate is not trusted; see verify"),
        ("server", {"verify": "another"}, "its certificate is not trusted"),
        ("expired", {"verify": "authority"}, "its certificate has expired"),
        ("elsewhere", {"verify": "authority"}, "is for another (host name|address)"),
    ],
)
def test_a_certificate_that_is_refused_is_told_with_its_reason(
    secure, pki, name, options, why
):
    paths = {key: getattr(pki, value) for key, value in options.items()}
    with pytest.raises(ServerError, match=why):
        secure(name, **paths).find()


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_server_that_wants_a_certificate_that_we_have_not(fake, pki, version):
    tls = server_side(pki.server, pki.authority)
    tls.minimum_version = tls.maximum_version = ssl.TLSVersion[version]
    server, _ = fake(lambda _: NOTHING, tls=tls, verify=pki.authority)
    # A reset of the connection may be quicker than the alert that says why.
    with pytest.raises(ServerError, match=r"client certificate; see cert$|hung up$"):
        server.find()


def test_a_server_without_tls_is_told(fake, pki):
    plain, _ = fake(lambda _: NOTHING)
    server = dicomweb.Server(plain._url.replace("http:", "https:"), retries=0)
    with pytest.raises(ServerError, match="is it a server without TLS"):
        server.find()


@pytest.mark.parametrize("name", ["verify", "cert"])
def test_files_that_are_not_there_or_no_certificates_are_refused_at_once(
    name, pki, tmp_path
):
    def made(path):
        return dicomweb.Server("https://localhost", **{name: path})

    with pytest.raises(MissingFileError, match=rf"{name}: no such file: .*nosuch"):
        made("nosuch.pem")
    text = tmp_path / "text.pem"
    for content in (b"", b"no certificate"):
        text.write_bytes(content)
        with pytest.raises(FormatError, match=rf"{name}: .*text.pem: expected .* PEM"):
            made(text)
    with pytest.raises(InvalidValueError, match=f"{name}: expected a path, found int"):
        made(5)


def test_a_key_that_does_not_fit_or_has_a_password_is_refused(pki):
    def made(key):
        return dicomweb.Server("https://localhost", cert=(pki.client[0], key))

    with pytest.raises(FormatError, match="expected the key of this certificate"):
        made(pki.server[1])
    with pytest.raises(FormatError, match="expected a key without a password"):
        made(pki.locked)
    with pytest.raises(MissingFileError, match="cert: no such file"):
        made("nosuch.key")
    with pytest.raises(InvalidValueError, match=r"or \(certificate, key\)"):
        dicomweb.Server("https://localhost", cert=("a", "b", "c"))
