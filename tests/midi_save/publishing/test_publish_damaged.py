"""Publishing where something was lost, torn or changed: it comes back, and harms no other day."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from contract.errors import SoundError, TokensError
from contract.objects import LARGEST_BYTES
from contract.records import archive_keys
from midi_save.publishing import publish as module
from midi_save.publishing.making import Material
from tests.midi_save.publishing.days import (
    Sines,
    day,
    published,
    saved,
    site,
    text,
)
from tests.versioned_s3 import VersionedS3


@pytest.mark.parametrize(
    "lost",
    ["feed.json", "index.html", "catalogue.json", "days/2026-11-01.html", "archive/2026.html"],
)
def test_whatever_is_lost_comes_back_with_the_next_publication(lost: str, s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
        published(s3, day(number))
    before = site(s3)
    s3.objects[f"site/{lost}"].clear()
    assert published(s3, day(2)).finished
    assert site(s3) == before


@pytest.mark.parametrize("kind", ["sound", "midi", "roll"])
def test_a_lost_file_of_a_day_comes_back(kind: str, s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    before = site(s3)
    lost = next(name for name in before if name.startswith(f"{kind}/{day(1)}"))
    s3.objects[f"site/{lost}"].clear()
    published(s3, day(2))
    assert site(s3) == before


def test_a_page_that_was_changed_by_hand_is_made_again(s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    before = site(s3)
    for name in (f"days/{day(1)}.html", "index.html", "feed.xml"):
        s3.objects[f"site/{name}"].append(b"changed")
    published(s3, day(2))
    assert site(s3) == before


def damaged_catalogues(whole: bytes) -> list[bytes]:
    """The catalogue with each of the fields of an entry null, of another type or no real number."""
    damaged = [b"", b"[]", b'{"form": 1, "days": {"2026-11-01": {}}}', b'{"form": 99}', whole[:90]]
    damaged.append(b" " * (LARGEST_BYTES + 1))
    for name in json.loads(whole)["days"][day(1)]["entry"]:
        wrong: Any
        for wrong in ({"a": 1}, [[1]], math.nan, -math.inf, 10**400, None):
            if wrong is None and name in ("form", "continued_from"):
                continue  # which may be so
            content = json.loads(whole)
            content["days"][day(1)]["entry"][name] = wrong
            damaged.append(json.dumps(content).encode())
    return damaged


def test_a_damaged_catalogue_is_made_anew(s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number), continued_from="2026-10-31")
    published(s3)
    before = site(s3)
    for damaged in damaged_catalogues(before["catalogue.json"]):
        s3.objects["site/catalogue.json"].append(damaged)
        published(s3, day(2))
        assert site(s3) == before


@pytest.mark.parametrize("seconds", ["", "ten", "nan", "1e999", "-1.000"])
def test_a_sound_whose_length_was_changed_by_hand_is_rendered_again(
    seconds: str, s3: VersionedS3
) -> None:
    saved(s3, day(1))
    published(s3)
    before = site(s3)
    sound = next(key for key in s3.objects if key.startswith("site/sound/"))
    s3.headers[sound]["Metadata"] = {"seconds": seconds}
    s3.objects["site/catalogue.json"].clear()
    sounds = Sines()
    assert published(s3, sounds=sounds).finished
    assert (site(s3), sounds.rendered) == (before, [day(1)])


@pytest.mark.parametrize("torn", [b"", b'{"date": "2026-11-02", "ke', b"[]", b'{"keys": {}}'])
def test_a_torn_record_keeps_no_other_day_from_being_published(
    torn: bytes, s3: VersionedS3
) -> None:
    for number in range(3):
        saved(s3, day(number))
    s3.objects[archive_keys(day(1))["record"]].append(torn)
    done = published(s3, day(2))
    assert done.finished
    assert list(done.not_published) == [day(1)]
    assert f"days/{day(1)}.html" not in site(s3)
    with pytest.raises(TokensError, match=rf"{day(1)}_sequence\.json is missing or no record"):
        published(s3, day(1))


@pytest.mark.parametrize(
    "changes",
    [
        *({"seed": None}, {"seed": "7"}, {"model_id": None}, {"style": 3}, {"date": "2026-11-09"}),
        *({"form": "ABA"}, {"form": []}, {"form": {"letters": ["A"], "bars": [1, 2]}}),
        *({"form": {"letters": "A", "bars": [1]}}, {"continued_from": 7}),
    ],
)
def test_a_record_with_a_wrong_field_keeps_no_other_day_from_being_published(
    changes: dict[str, Any], s3: VersionedS3
) -> None:
    for number in range(3):
        saved(s3, day(number))
    key = archive_keys(day(1))["record"]
    record = json.loads(s3.objects[key][-1]) | changes
    s3.objects[key].append(json.dumps(record).encode())
    done = published(s3, day(2))
    assert (done.finished, list(done.not_published)) == (True, [day(1)])
    assert f"days/{day(2)}.html" in site(s3)


def test_many_damaged_days_keep_no_older_day_from_being_published(s3: VersionedS3) -> None:
    for number in range(module.CHUNK + 5):
        saved(s3, day(number))
    for number in range(1, module.CHUNK + 5):
        s3.objects[archive_keys(day(number))["record"]].append(b"torn")
    done = published(s3)
    assert (done.finished, done.days) == (True, 1)
    assert f"days/{day(0)}.html" in site(s3)


def test_a_piece_without_sound_keeps_no_other_day_from_being_published(s3: VersionedS3) -> None:
    class Silent(Sines):
        def render(self, material: Material) -> tuple[bytes, float]:
            if material.record["date"] == day(1):
                raise SoundError("the bank makes no sound of this piece")
            return super().render(material)

    for number in range(3):
        saved(s3, day(number))
    done = published(s3, day(2), sounds=Silent())
    assert (done.finished, list(done.not_published)) == (True, [day(1)])
    with pytest.raises(SoundError):
        published(s3, day(1), sounds=Silent())


@pytest.mark.parametrize("rebuild", [False, True])
def test_the_newest_day_may_be_damaged_when_another_is_published(
    rebuild: bool, s3: VersionedS3
) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    s3.objects[archive_keys(day(2))["record"]].append(b"torn")
    saved(s3, day(0), seed=5)
    done = published(s3, day(0), rebuild=rebuild)
    assert done.finished
    assert list(done.not_published) == [day(2)]
    assert done.urgent is not None and done.urgent.sound in text(s3, f"days/{day(0)}.html")
