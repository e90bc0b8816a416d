"""The layer of the sound bank: a SoundFont, trimmed to the programs that the bundle can write.

The default bank comes out of a package on PyPI, by name, version and hash, and is kept in build/.
A bank of the user's own (--soundfont) stays deployed until another is asked for: the description of
its layer says what is in it. Depends on neither how a bank is played nor the other layers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from contract.bundle import Bundle
from contract.sound_bank import BANK_FILE, FACTS_FILE
from deploy import sbom, wheels
from deploy.aws import Aws
from deploy.errors import DeployError
from deploy.functions import Layer
from deploy.pack import Packed, pack
from deploy.place import Place
from deploy.sf2 import Sf2, Sf2Error, trimmed

DEFAULT = "default"  # as a value of --soundfont
LOCK = Path(__file__).with_name("soundfont.lock")
FILE = "TimGM6mb.sf2"
SHA256 = "82475b91a76de15cb28a104707d3247ba932e228bada3f47bba63c6b31aaf7a1"
FACTS = {
    "name": "TimGM6mb",
    "author": "Tim Brechbill",
    "licence": "GPL-2.0",  # as Debian's package timgm6mb-soundfont states it
    "source": "PyPI: pretty_midi 0.2.11.post0",
}
FAMILY = 8  # General MIDI's programs come in families of eight: pianos, organs, strings
# Behind the digest in the description of a layer with a bank of the user's own. The programs that
# it was trimmed to are the bits of a number.
OWN = re.compile(r"^([0-9a-f]{32}) own bank, (\d+) bytes, programs ([0-9a-f]+)$")


def programs_of(bundle: Bundle) -> list[int]:
    """The MIDI programs, from 0, that the bundle's pieces can have."""
    return sorted(int(v) for kind, v in bundle.vocabulary if kind == "Program" and int(v) >= 0)


def fetch(directory: Path, say: Callable[[str], None] = print) -> Path:
    """The default bank, in `directory`. Raises DeployError if it cannot be fetched."""
    path = directory / FILE
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256:
        return path
    say(f"fetching the sound bank {FILE}")
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"stage.{os.getpid()}.", dir=directory) as stage:
        wheels.install(LOCK, Path(stage), wheels.HOST_RUNTIME, wheels.host_arch())
        fetched = Path(stage) / "pretty_midi" / FILE
        if hashlib.sha256(fetched.read_bytes()).hexdigest() != SHA256:
            raise DeployError(f"{FILE} of {LOCK} is not the one that {__file__} names")
        fetched.replace(path)
    return path


def trimmed_bank(
    path: Path, programs: Collection[int], say: Callable[[str], None] = lambda _: None
) -> tuple[Sf2, bytes]:
    """The SoundFont `path`, and one with these programs only.

    A program that it lacks is played by the nearest that it has, and `say` tells which. Raises
    DeployError, which names the file.
    """
    try:
        font = Sf2.read(path.read_bytes())
        there = font.presets
        if not there:
            raise Sf2Error("it has no presets in bank 0, where the instruments are")
        nearest = {program: nearest_program(program, there) for program in programs}
        small = trimmed(font, {program: there[near] for program, near in nearest.items()})
    except OSError as error:
        raise DeployError(f"--soundfont: {path} cannot be read: {error.strerror}") from error
    except Sf2Error as error:
        raise DeployError(
            f"--soundfont: {path}: {error}: give a SoundFont 2 file (.sf2) that plays elsewhere"
        ) from error
    other = [f"{program} by {near}" for program, near in nearest.items() if program != near]
    if other:
        say(f"{path.name} lacks programs, which others play: {', '.join(other)}")
    return font, small


def nearest_program(program: int, there: Collection[int]) -> int:
    """The program to play where `program` is not `there`: of its family if one is, else the next
    by number. `there` must not be empty.
    """
    return min(there, key=lambda p: (p // FAMILY != program // FAMILY, abs(p - program), p))


def build(
    own: Path | None,
    programs: Collection[int],
    work: Path,
    directory: Path,
    say: Callable[[str], None],
) -> Packed:
    """The layer's zip in `work`, with the bank `own`, else the default, which `directory` keeps, as
    it does the layer's bill of materials.
    """
    font, small = trimmed_bank(own or fetch(directory, say), programs, say)
    facts = FACTS
    if own is not None:
        texts = {"name": "INAM", "author": "IENG", "licence": "ICOP"}
        facts = {field: font.text(chunk) or sbom.NOT_STATED for field, chunk in texts.items()}
        facts["source"] = own.name
    folder = work / "sounds"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / BANK_FILE).write_bytes(small)
    facts = {**facts, "sha256": hashlib.sha256(small).hexdigest()}
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1) + "\n")
    bill = directory / sbom.file_name("sounds")
    bank = sbom.of_file(
        folder / BANK_FILE, facts["licence"], name=facts["name"], author=facts["author"]
    )
    sbom.write(bill, "sounds", [bank])
    # Not compressed: it must be the same bytes with every zlib.
    content = {"sounds": folder, f"{sbom.FOLDER}/{bill.name}": bill}
    packed = pack(work / "sounds.zip", content, stored=True)
    if own is None:
        return packed
    bits = sum(1 << program for program in programs)
    return replace(packed, note=f" own bank, {packed.unzipped_bytes} bytes, programs {bits:x}")


def kept(aws: Aws, place: Place, programs: Collection[int]) -> Packed | None:
    """The user's own bank that is deployed, as if it had been packed again; None without one.

    Raises DeployError if it was trimmed to fewer programs than these.
    """
    newest = next(iter(Layer(aws, place, "sounds").read()), {})
    own = OWN.match(newest.get("Description", ""))
    if own is None:
        return None
    lacking = [program for program in programs if not int(own[3], 16) >> program & 1]
    if lacking:
        raise DeployError(
            f"the sound bank that was deployed with --soundfont was trimmed to other programs: it "
            f"lacks {', '.join(map(str, lacking))}, which this bundle can write: give --soundfont "
            f"FILE again, or --soundfont {DEFAULT}"
        )
    note = own[0].removeprefix(own[1])
    return Packed(Path(), own[1], "", int(own[2]), 0, note)
