"""The certificate of the local stack's identity provider, and the root that issued it.

The functions read from an identity provider over TLS alone, so this one has a certificate for 127.0.0.1. The key of the
root is deleted, so that it issues no second one.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from services import StackError

DAYS = "365"
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-batch", "-days", DAYS]


def issue(folder: Path) -> None:
    """Writes `key.pem`, `certificate.pem` and the root `ca.pem` into a folder, unless they are there."""
    root = folder / "ca.pem"
    if root.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    root_key, unfinished = folder / "ca-key.pem", folder / "unfinished-ca.pem"
    openssl(
        *("-subj", "/CN=root of a local stack of Keygate", "-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign", "-keyout", str(root_key), "-out", str(unfinished)),
    )
    openssl(
        *("-subj", "/CN=identity provider", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth"),
        *("-CA", str(unfinished), "-CAkey", str(root_key)),
        *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
    )
    root_key.unlink()
    unfinished.rename(root)


def openssl(*arguments: str) -> None:
    """Issues a certificate for a new key."""
    command = ["openssl", "req", "-x509", *NEW_KEY, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackError(f"openssl made no certificate for the identity provider:\n{done.stderr}")
