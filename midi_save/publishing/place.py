"""Where the site stands and what it was made with: what all of its pages have in common."""

from __future__ import annotations

from dataclasses import dataclass

NAME = "A piece a day"
MADE_WITH = "midi-archive-lambda"
ABOUT = (
    "Every day a small model composes a new piece of music, in the spirit of an archive of MIDI "
    "files. Each piece takes up the opening motif of the day before. Nobody edits what you hear."
)


@dataclass(frozen=True)
class SoundBank:
    """The sounds of the instruments. `source` is its address, or the package that it is from."""

    name: str
    author: str
    licence: str
    source: str


@dataclass(frozen=True)
class Model:
    """Of the installed model: the number of its weights and of the pieces it learned from.

    `longest_shared`: how many notes in a row a piece of its evaluation shares with the training set
    at most, and a real piece that was held out; None if its card does not say it.
    """

    parameters: int
    pieces: int
    longest_shared: tuple[int, int] | None = None


@dataclass(frozen=True)
class Site:
    """`url` is the public address without a slash at its end, as in "https://d111.cloudfront.net".

    None: the site has none, as on this machine's disk; then there are no feeds, since they need
    absolute addresses.
    """

    url: str | None
    bank: SoundBank
    model: Model

    def at(self, path: str) -> str | None:
        """The absolute address of a file of the site; None if the site has no address."""
        return None if self.url is None else f"{self.url}/{path}"
