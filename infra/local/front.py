"""Gives the OAuth API its own host, as on AWS, because clients look for its metadata at the root of the host.

The emulator serves every API on one port and selects the API by the name in `Host`, which no resolver knows. This proxy
passes requests on with that name.

    front.py --port 28200 --emulator-port 24566 --host 1a2b3c.execute-api.localhost:24566
"""

from __future__ import annotations

import argparse
import asyncio
import re

from proxy import CONNECTION_LOST, close, connect, no_delay, read_message, run

HOST = re.compile(rb"(?<=\r\n)host:[^\r\n]*", re.IGNORECASE)


class Front:
    """The proxy, with the address for requests and the name for their `Host`."""

    def __init__(self, emulator_port: int, host: str) -> None:
        self.emulator_port = emulator_port
        self.host = host.encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client's connection, over one connection to the emulator."""
        no_delay(writer)
        upstream = None
        try:
            upstream = await connect(self.emulator_port)
            while request := await read_message(reader):
                renamed = HOST.sub(b"Host: " + self.host, request.head, count=1)
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
            close((reader, writer))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--emulator-port", type=int, required=True)
    parser.add_argument("--host", required=True)
    arguments = parser.parse_args()
    run("front", arguments.port, Front(arguments.emulator_port, arguments.host).serve)


if __name__ == "__main__":
    main()
