"""Under which licences realm is given away, and what it runs on."""

from __future__ import annotations

import re

from realm import __version__
from tests.deploy.rendering import ROOT
from tools.licences import licences

#: Of these a user must give away what they build on them. docutils lets one choose; its parts that
#: are GPL are none that a library's user needs.
STRICT = re.compile(r"\bA?GPL|GNU (?:Affero )?General Public")
CHOICES = {"docutils"}


def test_every_package_tells_its_licence_and_none_binds_its_users() -> None:
    found = licences()
    assert len(found) > 50
    assert {name for name, (_, licence) in found.items() if not licence} == set()
    assert {name for name, (_, licence) in found.items() if STRICT.search(licence)} <= CHOICES


def test_the_newest_change_is_of_this_version() -> None:
    headings = re.findall(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == __version__
