"""Optional packages: checked before a command's work, named with what installs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from realm.errors import FailedPrecondition

#: Of commands that compute with a model, and of those that read documents into it: by extra.
MODEL = {"torch": "model", "transformers": "model"}
MODEL_AND_DOCUMENTS = {**MODEL, "pyarrow": "service"}


def check_packages(command: str, needs: Mapping[str, str]) -> None:
    """:param needs: the extra of realm that brings each package.

    :raises FailedPrecondition: naming the extras that bring what is missing.
    """
    if missing := [name for name in needs if importlib.util.find_spec(name) is None]:
        extras = ",".join(sorted({needs[name] for name in missing}))
        raise FailedPrecondition(
            f"`{command}` needs {', '.join(missing)}: pip install 'realm[{extras}]'"
        )
