"""`doctor` on certificates that are not taken, by the words of a real handshake."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.chain.http import Http
from agent.chain.rpc import EndpointDown
from agent.secret import SecretUrl
from commands.checkup import certificates
from commands.checkup.aws import remedy
from commands.checkup.nodes import Diagnosis, _down
from faults import RetryLater

pytestmark = pytest.mark.integration


def certificate(folder: Path, host: str, begins: int, ends: int) -> Path:
    """A self-signed one for an address, from and to the beginnings of two years."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(begins, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(ends, 1, 1, tzinfo=UTC))
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    encoding, file = serialization.Encoding.PEM, folder / "server.pem"
    file.write_bytes(key.private_bytes(encoding, form, plain) + made.public_bytes(encoding))
    return file


async def said_by(file: Path) -> str:
    """Why a node that shows this certificate is not asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def serve(listening: socket.socket) -> None:
        client, _ = listening.accept()
        with client, suppress(OSError):
            context.wrap_socket(client, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=[listening])
        thread.start()
        http = Http(SecretUrl(f"https://127.0.0.1:{listening.getsockname()[1]}"))
        with pytest.raises(EndpointDown) as down:
            await http.exchange({"method": "eth_chainId", "params": []})
        await http.close()
        thread.join()
    return str(down.value)


@pytest.mark.parametrize(
    ("host", "begins", "ends", "trusted", "todo"),
    [("127.0.0.1", 2010, 2011, True, "clock first"), ("127.0.0.1", 2090, 2091, True, "clock first"),
     ("127.0.0.1", 2010, 2091, False, "AUTHORITIES names a file"),
     ("127.0.0.2", 2010, 2091, True, "who answers there is another")],
)  # fmt: skip
async def test_certificate__that_is_not_taken__says_what_to_see_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    host: str, begins: int, ends: int, trusted: bool, todo: str,
) -> None:  # fmt: skip
    file = certificate(tmp_path, host, begins, ends)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    said = await said_by(file)
    assert todo in certificates.about(said, "AUTHORITIES")
    found = _down(Diagnosis("https://127.0.0.1", down=said), "fail")
    assert todo.replace("AUTHORITIES", "SSL_CERT_FILE") in found.todo
    assert todo.replace("AUTHORITIES", "AWS_CA_BUNDLE") in remedy(RetryLater(said))


def test_certificate__another_fault__is_told_as_ever() -> None:
    assert certificates.about("ConnectError: Connection refused", "X") == ""
    assert "health.aws.amazon.com" in remedy(RetryLater("no answer from AWS"))
