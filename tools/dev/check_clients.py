"""Runs the programs of docs/clients.md and the generated clients against a stack.

Each program of the page gets a key and the address of a route, and must show the caller; with a key whose checksum is
wrong it must fail, and without a request. The backends of the page get the context of both kinds of API. Clients are
generated from infra/openapi.yaml, checked by the type checkers with their strictest settings, and create, find and
delete a key.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from code_blocks import Block, blocks
from deploy import ROOT

PAGE = "docs/clients.md"
RELEASE = ROOT / ".local" / "tools" / "release" / "bin"
GENERATED = ROOT / "tests" / "generated"
CARGO = """\
[package]
name = "orders"
version = "0.0.0"
edition = "2024"

[[bin]]
name = "orders"
path = "orders.rs"

[dependencies]
crc32fast = "1"
ureq = {{ version = "3", default-features = false, features = ["rustls"] }}

[workspace]
"""
CALLER = {"scopes": "orders:read orders:write", "workspaceId": "acme", "userId": "alice@example.com"}
EVENTS = [
    {"requestContext": {"authorizer": CALLER}},
    {"requestContext": {"authorizer": {"lambda": CALLER}}},
    {"requestContext": {"authorizer": CALLER | {"scopes": "orders:readwrite"}}},
]


class ClientFailed(Exception):
    """A client does not do what the page says."""


def run(command: list[str], environment: Mapping[str, str] | None = None, folder: Path = ROOT) -> str:
    """Runs a command, and returns its output."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClientFailed(f"`{' '.join(command[:3])}` fails:\n{done.stdout}{done.stderr}")
    return done.stdout


def programs(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The languages of the page with the command of each, compiled where the language is."""
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    by_language: dict[str, list[Block]] = {}
    for block in blocks(PAGE, page):
        by_language.setdefault(block.language, []).append(block)

    def source(language: str, name: str) -> Path:
        path = folder / name
        path.write_text(by_language[language][0].text, encoding="utf-8")
        return path

    # The first block of the page in `sh` is the call, the second one generates clients.
    yield "curl", ["bash", "-euo", "pipefail", str(source("sh", "orders.sh"))]
    yield "Python", [str(RELEASE / "python"), str(source("python", "orders.py"))]
    yield "JavaScript", ["node", str(source("javascript", "orders.mjs"))]
    source("go", "main.go")
    run(["go", "build", "-o", str(folder / "orders-go"), "main.go"], folder=folder)
    yield "Go", [str(folder / "orders-go")]
    run(["javac", "-Xlint:all", "-Werror", "-d", str(folder), str(source("java", "Orders.java"))])
    yield "Java", ["java", "-cp", str(folder), "Orders"]
    source("rust", "orders.rs")
    (folder / "Cargo.toml").write_text(CARGO.format(), encoding="utf-8")
    for name in ("Cargo.lock", "rust-toolchain.toml"):
        shutil.copy(ROOT / name, folder)
    # Kept, because the crates take a minute.
    target = ROOT / "target" / "clients"
    run(["cargo", "build", "--quiet"], {"CARGO_TARGET_DIR": str(target)}, folder)
    yield "Rust", [str(target / "debug" / "orders")]
    for index, event in enumerate(EVENTS):
        expected = 403 if index == 2 else 200
        check_backend("Python", by_language["python"][1], event, expected, folder)
        check_backend("JavaScript", by_language["javascript"][1], event, expected, folder)


def check_backend(language: str, block: Block, event: dict, expected: int, folder: Path) -> None:
    """Calls a backend of the page with an event."""
    argument = json.dumps(event)
    if language == "Python":
        path = folder / "backend.py"
        path.write_text(f"{block.text}\nimport sys\nprint(json.dumps(handler(json.loads(sys.argv[1]), None)))\n")
        command = [str(RELEASE / "python"), str(path), argument]
    else:
        path = folder / "backend.mjs"
        path.write_text(f"{block.text}\nconsole.log(JSON.stringify(await handler(JSON.parse(process.argv[2]))));\n")
        command = ["node", str(path), argument]
    response = json.loads(run(command))
    if response["statusCode"] != expected:
        raise ClientFailed(f"the backend in {language} responds with {response} to {event}")
    if expected == 200 and json.loads(response["body"]) != {"workspace": "acme", "user": "alice@example.com"}:
        raise ClientFailed(f"the backend in {language} responds with {response}")


def check_programs(url: str, key: str) -> list[str]:
    """Runs each program with a key that works and with one that is none; returns the languages."""
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    checked = []
    with tempfile.TemporaryDirectory(prefix="keygate-clients-") as name, unreachable() as (closed, requests):
        for language, command in programs(Path(name)):
            shown = json.loads(run(command, {"ORDERS_URL": url, "ORDERS_KEY": key}))
            if shown["caller"]["userId"] != "alice@example.com":
                raise ClientFailed(f"{language} shows {shown}")
            # curl does not check the key.
            if language != "curl":
                try:
                    run(command, {"ORDERS_URL": closed, "ORDERS_KEY": wrong})
                except ClientFailed as failure:
                    if "ORDERS_KEY is not a key" not in str(failure) or wrong in str(failure):
                        raise
                else:
                    raise ClientFailed(f"{language} accepts a key with a wrong checksum")
            checked.append(language)
        if requests:
            raise ClientFailed("a program has sent a key with a wrong checksum")
    return checked


@contextlib.contextmanager
def unreachable() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that no program may call, and the requests that it got."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            """Nothing: the check names what it finds."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/orders", requests
    finally:
        server.shutdown()
        server.server_close()


def check_generated(api_url: str, key: str) -> None:
    """Generates the clients, checks their types, and runs a program with each."""
    environment = {"KEYGATE_API_URL": api_url, "KEYGATE_KEY": key}
    document = str(ROOT / "infra" / "openapi.yaml")
    build = GENERATED / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir()
    modules = GENERATED / "node_modules" / ".bin"
    run([str(modules / "openapi-typescript"), document, "--output", str(build / "keygate.ts")])
    run([str(modules / "tsc"), "--project", str(GENERATED)])
    shown = run(["node", str(build / "keys.js")], environment)
    if shown.strip() != "404":
        raise ClientFailed(f"the client in TypeScript shows {shown}")
    run(
        [str(RELEASE / "openapi-python-client"), "generate", "--path", document, "--meta", "none", "--fail-on-warning"]
        + ["--config", str(GENERATED / "openapi-python-client.yaml"), "--output-path", str(build / "keygate_client")],
        {"PATH": f"{RELEASE}:{os.environ['PATH']}"},
    )
    shutil.copy(GENERATED / "keys.py", build)
    run([str(RELEASE / "mypy"), "--strict", "--cache-dir", os.devnull, "keys.py", "keygate_client"], folder=build)
    shown = run([str(RELEASE / "python"), "-B", "keys.py"], environment, build)
    if shown.strip() != "404":
        raise ClientFailed(f"the client in Python shows {shown}")
