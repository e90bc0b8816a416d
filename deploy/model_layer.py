"""The layer of the model: the bundle's files but its weights, and what its card says of rights."""

from __future__ import annotations

import re
from pathlib import Path

from contract.bundle import CARD_FILE, MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE, Bundle
from deploy import sbom
from deploy.pack import Packed, pack

ATTRIBUTION_FILE = "ATTRIBUTION.md"  # a bundle whose pieces name nobody has none


def build(bundle: Path, work: Path, directory: Path) -> Packed:
    """The layer's zip in `work`, of the folder `bundle`; its bill of materials in `directory`."""
    files = [MODEL_FILE, TOKENIZER_FILE, MANIFEST_FILE, CARD_FILE]
    files += [ATTRIBUTION_FILE] if (bundle / ATTRIBUTION_FILE).is_file() else []
    card = (bundle / CARD_FILE).read_text(encoding="utf-8", errors="replace")
    said = re.search(r"Licence of the weights: ([^(,;\n]*[^(,;\n.\s])", card)
    bill = directory / sbom.file_name("model")
    licence = said[1] if said else sbom.NOT_STATED
    version = Bundle.load(bundle).model_id
    graph = sbom.of_file(bundle / MODEL_FILE, licence, "machine-learning-model", version=version)
    others = [sbom.of_file(bundle / file, licence) for file in files[1:]]
    sbom.write(bill, "model", [graph, *others])
    # Not compressed: it must be the same bytes with every zlib.
    content = {f"model/{file}": bundle / file for file in files}
    return pack(work / "model.zip", {**content, f"{sbom.FOLDER}/{bill.name}": bill}, stored=True)
