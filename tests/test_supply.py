"""Supply: the licence of everything that is needed or carried along is known, and is one that may be used."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "trust.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
DIRECT = {
    canonicalize_name(Requirement(line).name)
    for line in (*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines))
}
ROWS = {
    canonicalize_name(name): licence.strip()
    for name, licence in re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", PAGE, re.MULTILINE)
}
# Families of licences by what is said of them; copyleft that reaches further than a file is not among them.
FAMILIES = {
    "MIT": r"\bMIT\b|MIT-CMU|HPND",
    "BSD": r"BSD|0BSD",
    "Apache": r"Apache",
    "MPL": r"MPL|Mozilla",
    "PSF": r"PSF|Python Software Foundation|matplotlib",
    "other": r"ISC|Zlib|CC0|BSL|Unlicense",
}
STRONG = re.compile(r"\bA?GPL|GNU (Affero )?General Public|EUPL", re.IGNORECASE)
APART = {"mirp"}  # of a benchmark alone, which nobody installs with the package
DATA = re.compile(r"CC BY|CC0|PDDL|public domain|MIT|BSD|National Library of Medicine|courtesy of")


def said(found: Distribution) -> str:
    """What a package says of its licence, or the beginning of its text."""
    about = found.metadata
    words = [about.get("License-Expression") or "", (about.get("License") or "")[:2000]]
    words += [line for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    text = " ".join(words).strip()
    if family(text):
        return text
    files = [file for file in found.files or [] if re.search(r"LICEN[CS]E|COPYING", file.name)]
    texts = (Path(str(file.locate())).read_text(errors="replace")[:3000] for file in files)
    return text + " ".join(texts).replace("Permission is hereby granted, free of charge", "MIT")


def family(text: str) -> set[str]:
    return {name for name, words in FAMILIES.items() if re.search(words, text)}


def installed() -> dict[str, Distribution]:
    """What is installed of all that this package asks for, and what that asks for in turn."""
    found: dict[str, Distribution] = {}
    waiting = sorted(DIRECT)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        needed = (Requirement(line) for line in found[name].requires or [])
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def test_every_package_that_is_asked_for_is_listed_with_its_licence() -> None:
    assert set(ROWS) == DIRECT
    assert all(family(licence) or name in APART for name, licence in ROWS.items())


def test_what_is_installed_has_a_licence_that_may_be_used() -> None:
    wrong = []
    for name, package in installed().items():
        found = said(package)
        listed = family(ROWS.get(name, ""))
        if not family(found) or (listed and not family(found) & listed):
            wrong.append(f"{name}: {found[:80]}, listed as {ROWS.get(name)}")
        if name not in APART and STRONG.search(found[:200]):
            wrong.append(f"{name}: {found[:200]}")
    assert wrong == []


def test_packages_of_javascript_may_be_used() -> None:
    lock = json.loads((ROOT / "js" / "package-lock.json").read_text())
    licences = {name: about.get("license", "") for name, about in lock["packages"].items() if name}
    assert licences and all(family(licence) or licence == "ISC" for licence in licences.values()), licences


def test_every_volume_that_a_model_was_trained_on_has_a_licence() -> None:
    cards = sorted((ROOT / "inrcodec" / "layers" / "superres" / "models").glob("*.json"))
    assert cards
    for card in cards:
        volumes = json.loads(card.read_text())["trained_on"]
        assert volumes and all(DATA.search(volume["licence"]) for volume in volumes), card.name
