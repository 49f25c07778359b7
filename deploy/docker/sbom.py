"""Writes what is installed as a CycloneDX bill of materials. Argument: the image's name."""

import json
import sys
from importlib.metadata import distributions


def licences(package):
    """As its metadata tell, in the newest way that they use."""
    about = package.metadata
    if about.get("License-Expression"):
        return [about["License-Expression"]]
    start, none = "License :: ", ":: OSI Approved"
    told = [each for each in about.get_all("Classifier") or () if each.startswith(start)]
    named = [each.rpartition(" :: ")[2] for each in told if not each.endswith(none)]
    text = (about.get("License") or "").strip().partition("\n")[0]
    return named or [text] * bool(text)


def bill(name):
    """Each distribution once, by name."""
    found = {each.metadata["Name"].lower(): each for each in distributions()}
    components = [
        {
            "type": "library",
            "name": each.metadata["Name"],
            "version": each.version,
            "purl": f"pkg:pypi/{key.replace('_', '-')}@{each.version}",
            "licenses": [{"license": {"name": licence}} for licence in licences(each)],
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
