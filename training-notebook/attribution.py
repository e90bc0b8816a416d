"""Who typeset the pieces that a model was trained on, under which licence.

CC BY and CC BY-SA ask for it. Takes the facts from the manifests' rows; knows no music.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from archive import Source

PIECE_PAGE = "https://www.mutopiaproject.org/cgibin/piece-info.cgi?id="
INTRODUCTION = f"""# Attribution

The model was trained on these pieces, but for the few that were held out to measure it on. None of
them is shipped: they were converted to MIDI, cleaned and turned into tokens, and only weights are
published. The licences are those of the typesetters' editions. A number in brackets is a piece of
the Mutopia Project: {PIECE_PAGE}NUMBER"""
LICENCES = {  # how a licence is named, and where its text is
    "CC BY": "https://creativecommons.org/licenses/by/",
    "CC BY-SA": "https://creativecommons.org/licenses/by-sa/",
}
_MUTOPIA_ID = re.compile(r"^Mutopia-.*-(\d+)$")
_YEARS = re.compile(r"\s*\([^()]*\d{4}[^()]*\)")


def attributions(sources: Iterable[Source]) -> str:
    """ATTRIBUTION.md: per licence and typesetter the pieces, and counts of what names neither.

    A piece of several files is named once. Numbers are Mutopia's.
    """
    named: dict[str, dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    others: Counter[str] = Counter()
    for source in sources:
        facts = source.facts
        if facts.get("licence"):
            typesetter = _plain(facts.get("maintainer", "")) or "not named"
            named[facts["licence"]][typesetter][_piece(source)] = None
        else:
            place = facts.get("source", "") or source.collection or "a folder of files"
            others[place.rpartition("/")[0] or place] += 1
    parts = [INTRODUCTION]
    for licence in sorted(named):
        lines = [
            f"- {typesetter}: {'; '.join(sorted(pieces))}"
            for typesetter, pieces in sorted(named[licence].items(), key=lambda i: i[0].lower())
        ]
        parts.append(f"## {licence}{_link(licence)}\n" + "\n".join(lines))
    if others:
        lines = [f"- {place}: {count} files" for place, count in sorted(others.items())]
        parts.append("## Without a licence in the files\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _piece(source: Source) -> str:
    facts = source.facts
    title = _plain(facts.get("title", "")) or source.path.stem
    composer = _plain(_YEARS.sub("", facts.get("composer_name") or facts.get("composer") or ""))
    number = _MUTOPIA_ID.match(facts.get("mutopia_id", ""))
    place = number[1] if number else _plain(facts.get("source", "")) or source.path.name
    return f"{title}{f', {composer}' if composer else ''} [{place}]"


def _plain(text: str) -> str:
    """One line without what Markdown would read as its own."""
    return " ".join(re.sub(r"[;|\[\]<>`*_]", " ", text).split())


def _link(licence: str) -> str:
    family, _, version = licence.rpartition(" ")
    if family not in LICENCES:
        family, version = licence, ""
    if family not in LICENCES:
        return ""
    return f": {LICENCES[family]}{f'{version}/' if version else ''}"
