"""Starts the processes of a local stack in the background, finds them again and stops them.

A record of each process's id, start time, port and command is kept in the stack's folder. It is valid only while a
process with that id and start time runs, so a process that got the same id later is never stopped.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 10


class StackError(Exception):
    """A failure that the user can correct, with a message of one line if possible."""


@dataclass(frozen=True)
class Service:
    """A process that listens on one port of 127.0.0.1."""

    name: str
    port: int
    port_variable: str
    command: list[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def running(self) -> bool:
        """Whether the process with this command and port is running."""
        record = alive_record(self.record)
        return record is not None and (record["port"], record["command"]) == (self.port, self.command)

    def check_port(self) -> None:
        """Raises if another process than the recorded one uses the port."""
        record = alive_record(self.record)
        if port_taken(self.port) and not (record and record["port"] == self.port):
            raise StackError(
                f"port {self.port} is taken by another process: set {self.port_variable} to a free one, "
                f"as in `make dev {self.port_variable}={self.port + 1000}`"
            )

    def start(self) -> None:
        """Starts the process and waits until it accepts connections."""
        stop(self.record)
        self.check_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,  # so that Ctrl-C ends `make` and not the stack, and its children go with it
            )
        started = start_time(process.pid)
        record = {"pid": process.pid, "started": started, "port": self.port, "command": self.command}
        self.record.write_text(json.dumps(record), encoding="utf-8")
        deadline = time.monotonic() + START_SECONDS
        while not port_taken(self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                stop(self.record)
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
                raise StackError(f"{self.name} did not start; the end of {self.log}:\n{tail}")
            time.sleep(0.05)


def stop(record_path: Path) -> bool:
    """Stops the process of a record and its children; False if it was not running."""
    record = alive_record(record_path)
    if record:
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(record["pid"], signal_number)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + STOP_SECONDS
            while group_alive(record["pid"]) and time.monotonic() < deadline:
                time.sleep(0.05)
    record_path.unlink(missing_ok=True)
    return record is not None


def alive_record(path: Path) -> dict | None:
    """The record, if it exists and its process still runs."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if record["started"] is not None and start_time(record["pid"]) == record["started"] else None


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone (proc_pid_stat(5), fields 3 and 22)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(fields[18])


def group_alive(group: int) -> bool:
    """Whether a process of the group still runs, zombies excluded."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = stat.read_text(encoding="utf-8").rpartition(") ")[2].split()[:3]
        except OSError:
            continue
        if int(process_group) == group and state != "Z":
            return True
    return False


def port_taken(port: int) -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
