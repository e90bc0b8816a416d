"""Who typeset the pieces that a model was trained on, and under which licence.

CC BY and CC BY-SA require that they are named. The facts come from the rows of the manifests.
Depends on neither MIDI files nor models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from training.data.archive import Source
from training.data.names import shown

# Credits[licence][typesetter]: single pieces by title, each with the number 0, and collections by
# name, each with the number of its pieces. The licence is empty where the files name none.
Credits = dict[str, dict[str, dict[str, int]]]

PIECE_PAGE = "https://www.mutopiaproject.org/cgibin/piece-info.cgi?id="
INTRODUCTION = f"""# Attribution

The model was trained on these pieces, but for the few that were held out to measure it on. None of
them is shipped: they were converted to MIDI, cleaned and turned into tokens, and only weights are
published. The licences are those of the typesetters' editions. A number in brackets is a piece of
the Mutopia Project: {PIECE_PAGE}NUMBER"""
LICENCES = {  # how a licence is named, and where its text is
    "CC BY": "https://creativecommons.org/licenses/by/",
    "CC BY-SA": "https://creativecommons.org/licenses/by-sa/",
    "CC0": "https://creativecommons.org/publicdomain/zero/",
}
_MUTOPIA_ID = re.compile(r"^Mutopia-.*-(\d+)$")
_YEARS = re.compile(r"\s*\([^()]*\d{4}[^()]*\)")
_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+), ")  # of a source such as "OpenScore/Lieder, a/b.mxl"


def credits_of(sources: Iterable[Source]) -> Credits:
    """Whom the licences of the pieces ask to name, and how many files have no licence.

    A piece of several files is named once. A repository is named instead of its pieces.
    """
    found: Credits = {}
    for source in sources:
        facts = source.facts
        licence, place = facts.get("licence", ""), facts.get("source", "")
        repository = _REPOSITORY.match(place)
        counted = 1
        if not licence:
            typesetter, what = "", place.rpartition("/")[0] or place or source.collection
            what = what or "a folder of files"
        else:
            typesetter = _plain(facts.get("maintainer", "")) or "not named"
            if repository:
                what = f"https://github.com/{repository[1]}"
            else:
                what, counted = _piece(source), 0
        pieces = found.setdefault(licence, {}).setdefault(typesetter, {})
        pieces[what] = pieces.get(what, 0) + counted
    return found


def together(several: Iterable[Credits]) -> Credits:
    """All that is credited in any of them. Of two counts of a collection, the greater is kept."""
    merged: Credits = {}
    for one in several:
        for licence, typesetters in one.items():
            for typesetter, pieces in typesetters.items():
                into = merged.setdefault(licence, {}).setdefault(typesetter, {})
                into |= {what: max(count, into.get(what, 0)) for what, count in pieces.items()}
    return merged


def attribution_text(credited: Credits) -> str:
    """ATTRIBUTION.md: per licence and typesetter the pieces. Numbers are Mutopia's."""
    parts = [INTRODUCTION]
    for licence in sorted(filter(None, credited)):
        lines = [
            f"- {typesetter}: {'; '.join(sorted(map(_shown, pieces, pieces.values())))}"
            for typesetter, pieces in sorted(credited[licence].items(), key=lambda i: i[0].lower())
        ]
        parts.append(f"## {licence}{_link(licence)}\n" + "\n".join(lines))
    if "" in credited:
        lines = [f"- {place}: {n} files" for place, n in sorted(credited[""][""].items())]
        parts.append("## Without a licence in the files\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _shown(what: str, count: int) -> str:
    return f"{count} of {what}" if count else what


def _piece(source: Source) -> str:
    facts = source.facts
    title = _plain(facts.get("title", "")) or shown(source.path.stem)
    composer = _plain(_YEARS.sub("", facts.get("composer_name") or facts.get("composer") or ""))
    number = _MUTOPIA_ID.match(facts.get("mutopia_id", ""))
    place = number[1] if number else _plain(facts.get("source", "")) or shown(source.path.name)
    return f"{title}{f', {composer}' if composer else ''} [{place}]"


def _plain(text: str) -> str:
    """The text on one line, without characters that have a meaning in Markdown."""
    return " ".join(re.sub(r"[;|\[\]<>`*_]", " ", text).split())


def _link(licence: str) -> str:
    family, _, version = licence.rpartition(" ")
    if family not in LICENCES:
        family, version = licence, ""
    if family not in LICENCES:
        return ""
    return f": {LICENCES[family]}{f'{version}/' if version else ''}"
