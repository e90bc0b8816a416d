"""The task `publish` of the second function: its message, and what it publishes with.

    {"task": "publish",
     "execution": {"name"},            for the log
     "saved": {...,                     what `save` has answered, passed on
               "publish": {"date", "piece", "trial", "rebuild", "event", "calls",
                           "finished"}}}

Environment: SITE_URL (the public address of the site; none if it has no address), SOUNDS_DIR (the
sound bank, default /opt/sounds). Only this task imports this package, so that a cold start of the
others does not pay for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from contract.bundle import CARD_FILE, Bundle
from contract.checks import (
    require_count,
    require_flag,
    require_integer,
    require_object,
    require_text_or_none,
)
from contract.errors import EventError, TokensError
from contract.field import short
from contract.objects import Bucket
from contract.records import is_date
from contract.request import REBUILD, WITHOUT_EFFECT
from midi_save.publishing.bank import Bank
from midi_save.publishing.pages import Pages
from midi_save.publishing.place import Model, Site, SoundBank
from midi_save.publishing.publish import Publisher
from midi_save.publishing.sounding import Sounds

MOST_TOLD = 20  # damaged days: a state of the state machine holds 256 KiB
TEMPLATES = Path(__file__).resolve().parents[2] / "site"


@dataclass(frozen=True)
class Wanted:
    """What is to be published: a day, a piece of a batch, or with `rebuild` everything again.

    `calls` counts those that have worked on it, `finished` says whether nothing is left to do.
    """

    date: str | None = None
    piece: int | None = None
    trial: bool = False
    rebuild: bool = False
    calls: int = 0
    finished: bool = False

    @classmethod
    def read(cls, value: object) -> Wanted:
        """Raises TokensError, which names what is wrong; EventError for an event that asks for
        more than pages.
        """
        where = "saved.publish"
        fields = require_object(value, where)
        event = require_object(fields.get("event", {}), f"{where}.event")
        given = [name for name, value in event.items() if value is not None]
        others = [name for name in given if name not in (REBUILD, *WITHOUT_EFFECT)]
        if others:
            raise EventError(
                f"{REBUILD} makes no piece: leave out {short(others[0])}, or {REBUILD}"
            )
        piece = fields.get("piece")
        wanted = cls(
            date=require_text_or_none(fields.get("date"), f"{where}.date"),
            piece=None if piece is None else require_integer(piece, f"{where}.piece"),
            trial=require_flag(fields.get("trial", False), f"{where}.trial"),
            rebuild=require_flag(fields.get("rebuild", False), f"{where}.rebuild"),
            calls=require_count(fields.get("calls", 0), f"{where}.calls"),
        )
        if wanted.date is not None and not is_date(wanted.date):
            raise TokensError(f"{where}.date must be a day, got {wanted.date[:40]!a}")
        if wanted.piece is not None and wanted.date is None:
            raise TokensError(f"{where}.date is missing: a piece of a batch has one")
        return wanted


def publish(
    saved: object, bundle: Bundle, bucket: Bucket, left_s: Callable[[], float]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
    """The same message with its "publish" brought up to date and what came of it as "published";
    the facts to log; the metrics.

    Raises EventError, TokensError, SoundError, PieceError, ConflictError, and errors of S3.
    """
    message = require_object(saved, "saved")
    wanted = Wanted.read(message.get("publish"))
    bank = Bank.load()
    pages = Pages(TEMPLATES, site_of(bank, bundle))
    publisher = Publisher(bucket, pages, Sounds(bank), left_s, trial=wanted.trial)
    done = replace(wanted, calls=wanted.calls + 1, rebuild=False, finished=True)
    facts: dict[str, Any] = {"date": wanted.date, "piece": wanted.piece, "call": done.calls}
    made: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    if wanted.piece is not None:
        assert wanted.date is not None, "Wanted.read has seen to it"
        made = {"sound": publisher.sound_of(wanted.date, wanted.piece)}
    else:
        published = publisher.publish(wanted.date, rebuild=wanted.rebuild)
        done = replace(done, finished=published.finished)
        if published.urgent is not None:
            page = f"days/{published.urgent.date}.html"
            made = {"title": published.urgent.title, "url": pages.site.at(page)}
            made["sound"] = publisher.key(published.urgent.sound)
            made["page"] = publisher.key(page)
        damaged = dict(list(published.not_published.items())[:MOST_TOLD])
        made["not_published"] = damaged
        facts |= {"days": published.days, "finished": published.finished, "not_published": damaged}
        if published.not_published and not wanted.trial:
            metrics = {"Damaged": float(len(published.not_published))}
    return {**message, "publish": asdict(done), "published": made}, facts, metrics


def site_of(bank: Bank, bundle: Bundle) -> Site:
    """The facts that all pages have in common."""
    training = bundle.training
    return Site(
        url=os.environ.get("SITE_URL") or None,
        bank=SoundBank(bank.name, bank.author, bank.licence, bank.source),
        model=Model(
            parameters=int(training["parameters"]),
            pieces=int(training["pieces"]),
            longest_shared=longest_shared(
                (bundle.directory / CARD_FILE).read_text("utf-8", "replace")
            ),
        ),
    )


def longest_shared(card: str) -> tuple[int, int] | None:
    """Of the model card's figures: the longest run of notes that a generated piece shares with the
    training set, and that of a real piece. None if the model was not evaluated.
    """
    row = re.search(r"notes shared with the training set \| (\d+) \| (\d+) \|", card)
    return (int(row[1]), int(row[2])) if row else None
