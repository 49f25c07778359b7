"""Writes what is installed as a CycloneDX bill of materials. Argument: the image's name."""

import json
import sys
from importlib.metadata import distributions


def bill(name):
    """Each distribution once, by name."""
    found = {each.metadata["Name"].lower(): each for each in distributions()}
    components = [
        {
            "type": "library",
            "name": each.metadata["Name"],
            "version": each.version,
            "purl": f"pkg:pypi/{key.replace('_', '-')}@{each.version}",
        }
        for key, each in sorted(found.items())
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name}},
        "components": components,
    }


if __name__ == "__main__":
    json.dump(bill(sys.argv[1]), sys.stdout, indent=1)
