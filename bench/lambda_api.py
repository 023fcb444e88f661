"""Lambda's Runtime API, and on request its Extensions API, for one function process that is measured.

The emulators of Lambda add half a millisecond to a call, which hides what is to be seen. This hands out one event after
the other without anything between them, and reads the function's processor clock the moment a response arrives.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html,
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 30
FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:measured"
TRACE_ID = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0"
# As long as Lambda's session tokens: it is a signed header of every request.
SESSION_TOKEN = "IQoJb3JpZ2luX2VjE" + "A" * 800


@dataclass(frozen=True)
class Variant:
    """A function to measure."""

    name: str
    command: list[str]
    variables: Mapping[str, str]
    # Whether an Extensions API is available, as on AWS.
    extensions: bool = False
    # Whether it is called with an access token instead of a key.
    token: bool = False
    # How long an invocation may take, in seconds.
    timeout: int = 5


class Function:
    """A running function. `async with` starts and ends it."""

    def __init__(self, variant: Variant, environment: Mapping[str, str], cpu: int, log: Path) -> None:
        self.variant, self.environment, self.cpu, self.log = variant, environment, cpu, log
        self.event = b""
        self.number = 0
        # The runtime and the extension wait for events, and this program for the response.
        self.for_runtime: asyncio.Queue[None] = asyncio.Queue()
        self.for_extension: asyncio.Queue[None] = asyncio.Queue()
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.registered = False
        # One for each connection of the function.
        self.serving: set[asyncio.Task[None]] = set()
        # The processor time of the process at its last response.
        self.cpu_at_answer = 0.0
        self.answered_at = 0.0
        # Set while the function and its extension ask for the next event. Lambda would freeze the environment then.
        self.asking: set[str] = set()
        self.idle = asyncio.Event()

    async def __aenter__(self) -> Function:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        environment = {
            **self.environment,
            **self.variant.variables,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_FUNCTION_NAME": "measured",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_SESSION_TOKEN": SESSION_TOKEN,
        }
        ours = os.sched_getaffinity(0)
        with open(self.log, "ab") as log:
            os.sched_setaffinity(0, {self.cpu})  # inherited by the process, from its first instruction on
            try:
                self.started_at = time.monotonic()
                self.process = subprocess.Popen(
                    self.variant.command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            finally:
                os.sched_setaffinity(0, ours)

    async def end(self, by_request: bool = False) -> None:
        """Ends the process: at once, or by a signal that it may handle."""
        self.process.terminate() if by_request else self.process.kill()
        # In a thread, because the process may send its last requests to this one.
        await asyncio.to_thread(self.process.wait, PATIENCE)
        self.server.close()
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    def cpu_seconds(self) -> float:
        """User and system time of all threads, from the kernel's clock of the process (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def memory(self, what: str) -> int:
        """The memory of the process in bytes: `VmRSS` is the present one, `VmHWM` the highest (proc_pid_status(5))."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            [line] = [line for line in status if line.startswith(f"{what}:")]
        return int(line.split()[1]) * 1024

    def deadline(self) -> int:
        """When an invocation that begins now has to be over, in milliseconds since 1970."""
        return int((time.time() + self.variant.timeout) * 1000)

    async def invoke(self, event: bytes) -> bytes:
        """Hands over an event and returns the response."""
        self.event = event
        self.for_runtime.put_nowait(None)
        try:
            return await asyncio.wait_for(self.answers.get(), PATIENCE + self.variant.timeout)
        except TimeoutError:
            raise RuntimeError(f"{self.variant.name} does not respond; its log is {self.log}") from None

    async def settle(self) -> None:
        """Waits until the work after a response is done."""
        await asyncio.wait_for(self.idle.wait(), PATIENCE)

    def asks(self, who: str) -> None:
        self.asking.add(who)
        if len(self.asking) == (2 if self.registered else 1):
            self.idle.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        # At the end, requests that wait for an event are cancelled.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                length = 0
                for line in head.split(b"\r\n"):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                    elif (name.lower(), value.strip().lower()) == (b"transfer-encoding", b"chunked"):
                        length = -1
                body = await (reader.readexactly(length) if length >= 0 else chunks(reader))
                writer.write(await self.answer(path.decode(), body))
                await writer.drain()
        writer.close()

    async def answer(self, path: str, body: bytes) -> bytes:
        if path.endswith("/invocation/next"):
            self.asks("runtime")
            await self.for_runtime.get()
            self.number += 1
            self.asking.clear()
            self.idle.clear()
            if self.registered:
                self.for_extension.put_nowait(None)
            headers = (
                f"Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-{self.number:012x}\r\n"
                f"Lambda-Runtime-Deadline-Ms: {self.deadline()}\r\n"
                f"Lambda-Runtime-Invoked-Function-Arn: {FUNCTION_ARN}\r\n"
                f"Lambda-Runtime-Trace-Id: {TRACE_ID}\r\n"
            )
            return response(200, self.event, headers)
        if path.endswith("/response") or path.endswith("/error"):
            self.cpu_at_answer = self.cpu_seconds()
            self.answered_at = time.monotonic()
            self.answers.put_nowait(body)
            return response(202, b"{}")
        if path == "/2020-01-01/extension/register" and self.variant.extensions:
            self.registered = True
            body = b'{"functionName":"measured","functionVersion":"$LATEST","handler":"bootstrap"}'
            return response(200, body, "Lambda-Extension-Identifier: 7a1f2c9e-8f0b-4a8e-9a4e-2f6d2b1c0d3e\r\n")
        if path == "/2020-01-01/extension/event/next" and self.registered:
            self.asks("extension")
            await self.for_extension.get()
            event = (
                f'{{"eventType":"INVOKE","deadlineMs":{self.deadline()},"requestId":"8476a536-e9f4-11e8-9739-{self.number:012x}",'
                f'"invokedFunctionArn":"{FUNCTION_ARN}","tracing":{{"type":"X-Amzn-Trace-Id","value":"Root=1"}}}}'
            )
            return response(200, event.encode())
        return response(404, b"{}")


def response(status: int, body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def chunks(reader: asyncio.StreamReader) -> bytes:
    """A body in chunks, the form of a streamed response (RFC 9112, section 7.1)."""
    body = b""
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            await reader.readuntil(b"\r\n")
            return body
        body += await reader.readexactly(size)
        await reader.readexactly(2)
