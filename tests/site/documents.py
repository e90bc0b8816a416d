"""Reads pages as a browser's parser does, for what tests ask of them."""

from __future__ import annotations

from html.parser import HTMLParser


class Document(HTMLParser):
    """The tags of a page in order as (name, attributes), and its text outside of scripts."""

    def __init__(self, html: str | bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(html.decode() if isinstance(html, bytes) else html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of each tag of this name."""
        return [attributes for name, attributes in self.tags if name == tag]

    def values(self, attribute: str) -> list[str]:
        """Every value of the attribute, of whatever tag."""
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]

    def meta(self, name: str) -> str | None:
        """The content of a meta element by its name, property or http-equiv."""
        for attributes in self.all("meta"):
            if name in {attributes.get(key) for key in ("name", "property", "http-equiv")}:
                return attributes.get("content")
        return None

    def links(self) -> list[str]:
        """Every address that the page names for a browser to follow or to load."""
        return [*self.values("href"), *self.values("src"), *self.values("data-picture")]
