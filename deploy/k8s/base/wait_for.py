"""Before a process starts: is there what it needs, and if not, what is missing?

Without the store nothing starts. For Redis and Qdrant it waits a while and says what it waits
for; then the process starts all the same, since it lives through their absence.
Arguments: any of store, redis, qdrant. Needs the standard library alone.
"""

import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

WAIT_SECONDS = float(os.environ.get("CHECK_SECONDS", "120"))
METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
PAUSE_SECONDS = min(5.0, WAIT_SECONDS / 10)


def store_fault():
    """What is wrong with the store, in a sentence; empty if nothing is."""
    url = os.environ["REALM_STORE_URL"]
    if url.startswith("s3://"):
        missing = [
            name
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
            if not os.environ.get(name)
        ]
        roles = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if missing and not any(os.environ.get(name) for name in roles) and not node_has_role():
            return (
                f"the store is {url}, but {', '.join(missing)} are not set, and neither the"
                " account nor the node has a role: see the Secret s3"
            )
        return ""
    folder = Path(url.removeprefix("file://"))
    if not folder.is_dir():
        return f"the store's folder {folder} is not there: is its volume mounted?"
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="probe-") as file:
            twin = Path(f"{file.name}-linked")
            twin.hardlink_to(file.name)
            twin.unlink()
    except OSError as error:
        return (
            f"user {os.getuid()}, groups {os.getgroups()}, cannot write and link files in the store"
            f" {folder} ({error.strerror}): its volume has to belong to that user or group, and to"
            " have hard links (NFS and CephFS have)"
        )
    return ""


def node_has_role():
    """Whether the node's metadata service is there, from which credentials come then."""
    parts = urlsplit(METADATA)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=2).close()
    except OSError:
        return False
    return True


def address_fault(name, url, port):
    """Why nothing listens there, in a sentence; empty if something does."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or port
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError as error:
        return (
            f"{name} does not answer at {host}:{port} ({error}):"
            f" kubectl -n realm get pods -l app.kubernetes.io/name={name}"
        )
    return ""


def any_address_fault(name, urls, port):
    """Why none of several peers, separated by commas, listens; empty if one does."""
    faults = []
    for url in urls.split(","):
        if not (fault := address_fault(name, url.strip(), port)):
            return ""
        faults.append(fault)
    return faults[0]


CHECKS = {
    "store": store_fault,
    "redis": lambda: address_fault("redis", os.environ["REALM_REDIS_URL"], 6379),
    "qdrant": lambda: any_address_fault("qdrant", os.environ["REALM_QDRANT_URL"], 6334),
}


def say(words):
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main(names):
    """Exit code 1 if the store cannot be used."""
    deadline = time.monotonic() + WAIT_SECONDS
    said = []
    while True:
        faults = {name: fault for name in names if (fault := CHECKS[name]())}
        if not faults:
            say("all there")
            return 0
        if list(faults.values()) != said:
            said = list(faults.values())
            for fault in said:
                say(f"missing: {fault}")
        if time.monotonic() >= deadline:
            break
        time.sleep(PAUSE_SECONDS)
    if "store" in faults:
        return 1
    say(f"starts without {', '.join(faults)}: the process goes on asking")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
