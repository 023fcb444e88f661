"""HTTP/1.1 messages for the proxies of the local stack, which read them whole and pass them on unchanged."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HEAD_LIMIT = 64 * 1024
CONNECTION_LOST = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


@dataclass
class Message:
    """One HTTP/1.1 request or response, `raw` as it came, so that it can be passed on unchanged."""

    raw: bytes
    head: bytes
    body: bytes

    def header(self, name: bytes) -> bytes:
        """The value of a header, or an empty text if it is absent."""
        found = re.search(rb"\r\n" + re.escape(name) + rb":[ \t]*([^\r\n]*)", self.head, re.IGNORECASE)
        return found[1].strip() if found else b""


def run(name: str, port: int, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
    """Serves each connection to a port of this machine with `serve`, until the process ends."""

    async def accept() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", port, limit=HEAD_LIMIT, backlog=1024)
        async with server:
            await server.serve_forever()

    try:
        asyncio.run(accept())
    except OSError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        pass


async def connect(port: int) -> Connection:
    """A connection to a port of this machine."""
    connection = await asyncio.open_connection("127.0.0.1", port, limit=HEAD_LIMIT)
    no_delay(connection[1])
    return connection


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next request or response of a connection, or None when the other side is done."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise
        return None
    message = Message(raw=head, head=head, body=b"")
    if message.header(b"Transfer-Encoding").lower() == b"chunked":
        message.raw += await read_chunks(reader)
    elif length := int(message.header(b"Content-Length") or 0):
        message.body = await reader.readexactly(length)
        message.raw += message.body
    return message


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body with its framing (RFC 9112 §7.1), to be passed on unread."""
    raw = b""
    while True:
        size_line = await reader.readuntil(b"\r\n")
        size = int(size_line.partition(b";")[0], 16)
        raw += size_line + await reader.readexactly(size + 2)
        if size == 0:
            return raw


def no_delay(writer: asyncio.StreamWriter) -> None:
    """Sends small messages at once: with Nagle's algorithm each call would wait 40 ms."""
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def close(connection: Connection | None) -> None:
    """Closes a connection, if there is one."""
    if connection:
        connection[1].close()
