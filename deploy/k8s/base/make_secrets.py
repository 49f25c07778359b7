"""Makes a Secret with a random value for each key, unless there is one of that name already.

Arguments: the Secret's name, then its keys. Needs the standard library and a service account
that may create secrets in its own namespace.
"""

import json
import os
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("ACCOUNT_FOLDER", "/var/run/secrets/kubernetes.io/serviceaccount"))
SERVER = os.environ.get("API_SERVER", "https://kubernetes.default.svc")
CREATED, EXISTS = 201, 409


def make(name, keys):
    """The API server's status code, and in words what came of it."""
    namespace = (ACCOUNT / "namespace").read_text().strip()
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "realm"}},
        # Letters and digits alone: one of them becomes part of a URL.
        "stringData": {key: secrets.token_hex(24) for key in keys},
    }
    request = urllib.request.Request(
        f"{SERVER}/api/v1/namespaces/{namespace}/secrets",
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}",
            "Content-Type": "application/json",
        },
    )
    authority = ACCOUNT / "ca.crt"
    trust = ssl.create_default_context(cafile=str(authority)) if authority.exists() else None
    try:
        with urllib.request.urlopen(request, timeout=20, context=trust) as answer:
            return answer.status, f"made the Secret {name} in {namespace}"
    except urllib.error.HTTPError as error:
        with error:
            if error.code == EXISTS:
                return error.code, f"the Secret {name} in {namespace} is there and stays as it is"
            said = error.read().decode(errors="replace")[:500]
            return error.code, f"the Secret {name} in {namespace} cannot be made: {said}"
    except OSError as error:
        return 0, f"{SERVER} cannot be reached ({error}): may this pod's network policy allow it?"


if __name__ == "__main__":
    status, words = make(sys.argv[1], sys.argv[2:])
    sys.stdout.write(f"{words}\n")
    sys.exit(status not in (CREATED, EXISTS))
