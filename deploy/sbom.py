"""What a layer holds, as a software bill of materials: CycloneDX 1.6, the same bytes for the same
content.

https://cyclonedx.org/docs/1.6/json/
Depends on neither where the parts come from nor AWS.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

FOLDER = "sbom"  # in a layer
NOT_STATED = "not stated"


def file_name(name: str) -> str:
    """Under which tools look for it."""
    return f"{name}.cdx.json"


def write(path: Path, name: str, components: list[dict[str, Any]]) -> None:
    """The bill of the layer `name`."""
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "name": f"midi-archive-lambda, layer {name}"}
        },
        "components": sorted(components, key=lambda each: str(each["name"]).lower()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def of_wheels(packages: Path, hashes: Mapping[str, str]) -> list[dict[str, Any]]:
    """The installed distributions in `packages`; `hashes` are those of their wheels, by name.

    Raises KeyError for one that came from no wheel.
    """
    sha256_of = {_normal(name): sha256 for name, sha256 in hashes.items()}
    return [
        {
            "type": "library",
            "bom-ref": purl,
            "name": each.name,
            "version": each.version,
            "purl": purl,
            "hashes": [{"alg": "SHA-256", "content": sha256_of[_normal(each.name)]}],
            "licenses": _licences_of(each),
        }
        for each in distributions(path=[str(packages)])
        for purl in [f"pkg:pypi/{_normal(each.name)}@{each.version}"]
    ]


def of_file(path: Path, licence: str, kind: str = "file", **more: str) -> dict[str, Any]:
    """A file of a layer. `kind` is CycloneDX's type; `more` are fields as `name` and `version`."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": kind,
        "name": path.name,
        **more,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
        "licenses": [{"license": {"name": licence}}],
    }


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _licences_of(each: Distribution) -> list[dict[str, Any]]:
    """As the metadata says: an SPDX expression, else a name, else what it is classified as."""

    def said(field: str) -> list[str]:
        return each.metadata.get_all(field) or []

    if expressions := said("License-Expression"):
        return [{"expression": expressions[0]}]
    # Some have the whole text there, of which the first line is the name.
    named = [text.strip().partition("\n")[0].strip() for text in said("License")]
    classified = [text.rpartition(" :: ")[2] for text in said("Classifier") if "License ::" in text]
    name = next(filter(None, [*named, *classified]), NOT_STATED)
    return [{"license": {"name": name}}]
