"""Installs the pinned tools into .local/tools. `make setup` and every target that needs a tool run this.

install_tools.py [--release]

With --release also those that `make release-check` alone needs.

A tool is installed again when its lock file (or its pin below) has changed since, and left alone otherwise, so this
costs nothing when there is nothing to do. Runs on the system's Python, with nothing but the standard library.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What evaluates IAM policies, with the packages that it depends on. Only tests run it: it is under the AGPL.
IAM_SIMULATE = HERE / "iam-simulate"
# What people sign in at in the local stack.
OIDC_PROVIDER = HERE / "oidc-provider"
TOOLS = HERE.parents[1] / ".local" / "tools"

# Amazon's DynamoDB Local, from an npm package, because npm is the only registry that has it.
DYNAMODB_LOCAL = "amplify-dynamodb-simulator@2.9.30"
DYNAMODB_LOCAL_SHA512 = "xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ=="

# The viewer of infra/openapi.yaml. Version 3 reports the actions of its readers.
REDOC = "redoc@2.5.4"
REDOC_SHA512 = "M6jWhG1qoBnH6TFmzJnstyCZ87HmOY/UzDm78mHiYihEdlV/YcS9ogOo1NlElnJMeLsyxHFe2yFc4sNjHTrABQ=="

# A widely used OAuth client, for the tests.
OAUTH4WEBAPI = "oauth4webapi@3.8.8"
OAUTH4WEBAPI_SHA512 = "8N28E+a/oxfXWBgOMt+ZP/JUf/XR+IFbvkAEPP3gznXOMv9BpAAwiIj0TFNz3tGTPc0ZQ8zmWBNgN1nAys0gng=="

# A widely used verifier of JWTs, for the tests.
JOSE = "jose@6.2.18"
JOSE_SHA512 = "doV4thUwgkrycJH4yLeqwTGIIZphHl+pk7CPReuMIhYhncmgzdko85MaCG4YQFTxqMFr1/oEH32tZuKKovcDEg=="


class SetupError(Exception):
    """A failure that the user must correct; the message says how."""


def main() -> int:
    try:
        install()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def install() -> None:
    """Installs missing and outdated tools, several in parallel, because each waits for the network."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whatever Python the system has runs this
        raise SetupError(f"python3 is {sys.version.split()[0]}, but must be 3.11 or newer")
    if not shutil.which("cargo"):
        raise SetupError("cargo is missing: install Rust with rustup (https://rustup.rs), then try again")
    TOOLS.mkdir(parents=True, exist_ok=True)
    with open(TOOLS / "lock", "w", encoding="utf-8") as lock, ThreadPoolExecutor() as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once must not install into the same folder
        installations = [pool.submit(install_once, *tool) for tool in tools()]
        for installation in installations:
            installation.result()


def tools() -> Iterator[tuple[str, str, Callable[[Path], None]]]:
    """The tools, largest first, each with its name, version and installer."""
    of_releases = ["release"] if "--release" in sys.argv[1:] else []
    for name in ("cli", "scanners", "emulator", "fuzz", "clients", *of_releases):
        lock_file = HERE / f"requirements-{name}.txt"
        # A virtual environment depends on its path and its Python, so these are part of its version.
        version = f"{hashlib.sha256(lock_file.read_bytes()).hexdigest()} {sys.version} {TOOLS}"
        yield name, version, partial(install_python, lock_file)
    yield (
        "dynamodb-local",
        DYNAMODB_LOCAL_SHA512,
        partial(install_npm, DYNAMODB_LOCAL, DYNAMODB_LOCAL_SHA512, "emulator"),
    )
    yield "oauth4webapi", OAUTH4WEBAPI_SHA512, partial(install_npm, OAUTH4WEBAPI, OAUTH4WEBAPI_SHA512, ".")
    yield "jose", JOSE_SHA512, partial(install_npm, JOSE, JOSE_SHA512, "dist")
    for source in (IAM_SIMULATE, OIDC_PROVIDER):
        lock_file = source / "package-lock.json"
        yield source.name, hashlib.sha256(lock_file.read_bytes()).hexdigest(), partial(install_npm_lock, source)
    yield "redoc", REDOC_SHA512, partial(install_npm, REDOC, REDOC_SHA512, "bundles")


def install_once(name: str, version: str, install_into: Callable[[Path], None]) -> None:
    """Runs `install_into(folder)` unless that folder holds this version already; a failure leaves no stamp behind."""
    folder, stamp = TOOLS / name, TOOLS / name / ".version"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == version:
        return
    print(f"installing {name} into .local/tools ...", flush=True)
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    install_into(folder)
    stamp.write_text(version, encoding="utf-8")
    print(f"installed {name} in {time.monotonic() - started:.0f} s", flush=True)


def install_python(lock_file: Path, folder: Path) -> None:
    """A virtual environment with exactly the packages, versions and hashes of the lock file."""
    run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run([*pip, "install", "--require-hashes", "--no-deps", "--requirement", str(lock_file)])


def install_npm(package: str, sha512: str, inner: str, folder: Path) -> None:
    """The folder `inner` of an npm package with the expected digest."""
    with tempfile.TemporaryDirectory(dir=TOOLS) as download:
        run(["npm", "pack", "--silent", "--pack-destination", download, package])
        (archive_file,) = Path(download).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive_file.read_bytes()).digest()).decode()
        if digest != sha512:
            raise SetupError(f"{package} has the sha512 {digest}, not {sha512}")
        with tarfile.open(archive_file) as archive:
            archive.extractall(download)
        shutil.copytree(Path(download) / "package" / inner, folder, dirs_exist_ok=True)


def install_npm_lock(source: Path, folder: Path) -> None:
    """Exactly the npm packages, versions and digests of a lock file. No script of a package is run."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder)
    run(["npm", "ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"])


def run(command: list[str]) -> None:
    """Runs a command; raises an error with its output if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"`{' '.join(command)}` failed:\n{(done.stdout + done.stderr).strip()}")


if __name__ == "__main__":
    sys.exit(main())
