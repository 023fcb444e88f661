"""TLS in front of the local DynamoDB and KMS, with a chain of certificates as AWS has them, and a count of the calls.

A handshake is a large part of a cold start, and encryption a part of every call, so they have to be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

TARGET = re.compile(rb"x-amz-target: *[^\r]*?\.(\w+)\r\n", re.IGNORECASE)


class Terminator:
    """Ends TLS on its own port of `localhost`, and passes the content on."""

    def __init__(self, upstream: tuple[str, int], context: ssl.SSLContext) -> None:
        self.upstream, self.context = upstream, context
        # The number of calls of each operation.
        self.calls: Counter[str] = Counter()
        # One for each connection.
        self.serving: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context)
        return f"https://localhost:{self.server.sockets[0].getsockname()[1]}"

    async def end(self) -> None:
        self.server.close()
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        # At the end, open connections are cancelled.
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            from_upstream, to_upstream = await asyncio.open_connection(*self.upstream)
            await asyncio.gather(self.pump(reader, to_upstream, True), self.pump(from_upstream, writer, False))

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: bool) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                if count:
                    self.calls.update(operation.decode() for operation in TARGET.findall(data))
                writer.write(data)
                await writer.drain()
        writer.close()


def certificates(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context and the file with the trusted root. All three certificates have 2048-bit RSA keys."""
    now = datetime.now(UTC)

    def issue(name: str, issuer: tuple[x509.Certificate, rsa.RSAPrivateKey] | None, is_ca: bool):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer[0].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if not is_ca:
            names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key

    root = issue("Benchmark root", None, True)
    intermediate = issue("Benchmark intermediate", root, True)
    server, key = issue("localhost", intermediate, False)

    def pem(certificate: x509.Certificate) -> bytes:
        return certificate.public_bytes(serialization.Encoding.PEM)

    chain, trusted = folder / "server.pem", folder / "root.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(private + pem(server) + pem(intermediate[0]))
    trusted.write_bytes(pem(root[0]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context, trusted
