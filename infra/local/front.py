"""Gives the OAuth API a host of its own, as it has on AWS: clients look for its description at the root of the host.

The emulator serves every API on one port and tells them apart by the name in `Host`, which no resolver knows. This
passes requests on with that name.

    front.py --port 28200 --emulator-port 24566 --host 1a2b3c.execute-api.localhost:24566
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys

from recorder import CONNECTION_LOST, HEAD_LIMIT, close, no_delay, read_message

HOST = re.compile(rb"(?<=\r\n)host:[^\r\n]*", re.IGNORECASE)


async def serve(client: tuple[asyncio.StreamReader, asyncio.StreamWriter], emulator_port: int, host: str) -> None:
    """Serves one client's connection, over one connection to the emulator."""
    reader, writer = client
    no_delay(writer)
    upstream = None
    try:
        upstream = await asyncio.open_connection("127.0.0.1", emulator_port, limit=HEAD_LIMIT)
        no_delay(upstream[1])
        while request := await read_message(reader):
            renamed = HOST.sub(b"Host: " + host.encode(), request.head, count=1)
            upstream[1].write(renamed + request.raw.removeprefix(request.head))
            await upstream[1].drain()
            response = await read_message(upstream[0])
            if response is None:
                break
            writer.write(response.raw)
            await writer.drain()
    except CONNECTION_LOST:
        pass
    finally:
        close(upstream)
        close(client)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--emulator-port", type=int, required=True)
    parser.add_argument("--host", required=True)
    arguments = parser.parse_args()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve((reader, writer), arguments.emulator_port, arguments.host)

    server = await asyncio.start_server(connected, "127.0.0.1", arguments.port, limit=HEAD_LIMIT)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except OSError as error:
        sys.exit(f"front: {error}")
    except KeyboardInterrupt:
        pass
