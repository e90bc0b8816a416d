"""The task `publish` as the state machine calls it: its message, its answer, its log line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import CARD_FILE
from contract.errors import EventError, SoundError, TokensError
from midi_save.handler import handler
from midi_save.publishing.publish import Published
from midi_save.publishing.task import Wanted, longest_shared
from tests.conftest import MUSIC_BUCKET
from tests.emf import metrics_in
from tests.midi_save.test_handler import deployed, save_message

__all__ = ["deployed"]  # the fixture: the function as on a cold start


class Context:
    """Lambda's, with five minutes left."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 300_000


def publish(saved: Any) -> Any:
    return handler({"task": "publish", "saved": saved}, Context())


@pytest.fixture(autouse=True)
def environment(sounds_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDS_DIR", str(sounds_dir))
    monkeypatch.setenv("SITE_URL", "https://d111.cloudfront.net")


def test_what_was_saved_is_published_and_passed_on(
    s3: Any, bundle: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = handler(save_message(bundle), Context())
    answer = publish(saved)
    assert answer["record"] == saved["record"]
    assert answer["publish"]["finished"] is True
    assert answer["publish"]["calls"] == 1
    published = answer["published"]
    assert published["url"] == "https://d111.cloudfront.net/days/2026-11-22.html"
    sound = s3.get_object(Bucket=MUSIC_BUCKET, Key=published["sound"])["Body"].read()
    assert sound.startswith(b"ID3")
    page = s3.get_object(Bucket=MUSIC_BUCKET, Key=published["page"])["Body"].read().decode()
    assert published["title"] in page
    log = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (log["task"], log["date"], log["days"]) == ("publish", "2026-11-22", 1)


def test_a_piece_of_a_batch_becomes_a_sound(s3: Any, bundle: Any) -> None:
    message = save_message(bundle)
    message["job"]["request"] |= {"pieces": 3, "piece": 2}
    answer = publish(handler(message, Context()))
    assert answer["published"]["sound"].startswith("site/sound/2026-11-22-0002-")
    listed = s3.list_objects_v2(Bucket=MUSIC_BUCKET, Prefix="site/")["Contents"]
    assert [entry["Key"] for entry in listed] == [answer["published"]["sound"]]


def test_a_rebuild_asks_for_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def publishing(_: Any, urgent: str | None, *, rebuild: bool) -> Published:
        asked.append((urgent, rebuild))
        return Published(len(asked) == 2, 0, None, {})

    monkeypatch.setattr("midi_save.publishing.task.Publisher.publish", publishing)
    first = publish({"publish": {"rebuild": True}})["publish"]
    second = publish({"publish": first})["publish"]
    assert [(step["calls"], step["finished"]) for step in (first, second)] == [
        (1, False),
        (2, True),
    ]
    assert asked == [(None, True), (None, False)]


def test_a_rebuild_makes_no_piece_and_says_so() -> None:
    for event in ({"rebuild_site": True, "date": "2026-11-22"}, {"x": 1}):
        with pytest.raises(EventError, match="rebuild_site makes no piece: leave out '"):
            publish({"publish": {"rebuild": True, "event": event}})
    wanted = {
        "rebuild": True,
        "event": {"rebuild_site": True, "Comment": "from the console", "date": None},
    }
    assert Wanted.read(wanted).rebuild


def test_damaged_days_are_counted_for_the_alarm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("METRICS_NAMESPACE", "midi-archive")
    damaged: dict[str, str] = {}
    done = Published(finished=True, days=1, urgent=None, not_published=damaged)
    monkeypatch.setattr("midi_save.publishing.task.Publisher.publish", lambda *_, **__: done)
    seen = []
    for day in range(1, 31, 29):
        publish({"publish": {"date": "2026-11-22"}})
        text = capsys.readouterr().out.removesuffix("\n")
        seen.append(metrics_in(text) if "_aws" in text else {})
        damaged |= {f"2026-10-{day + n:02}": "is not MIDI" for n in range(30)}
    assert seen == [{}, {"Damaged": (30.0, "Count")}]


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        (None, "saved must be an object"),
        ({}, "saved.publish must be an object"),
        ({"publish": {"date": 7}}, "saved.publish.date must be a string"),
        ({"publish": {"piece": 2}}, "saved.publish.date is missing"),
        ({"publish": {"date": "2026-11-22", "piece": "2"}}, "saved.publish.piece must be a number"),
        ({"publish": {"date": "2026-11-22", "trial": "no"}}, "saved.publish.trial must be true or"),
        ({"publish": {"date": "../../prompts/x"}}, "saved.publish.date must be a day"),
    ],
)
def test_a_message_out_of_form_is_refused_by_name(saved: Any, told: str) -> None:
    with pytest.raises(TokensError, match=told):
        publish(saved)


def test_a_missing_bank_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("SOUNDS_DIR", str(tmp_path))
    with pytest.raises(SoundError, match=r"bank\.json cannot be read .*deploy again"):
        publish({"publish": {"date": "2026-11-22"}})


def test_a_card_that_is_no_utf_8_stops_no_publication(
    bundle: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The card has no hash: people write into it."""
    copy = shutil.copytree(bundle.directory, tmp_path / "model")
    (copy / CARD_FILE).write_bytes("# Müllers Modell".encode("latin-1"))
    monkeypatch.setenv("MODEL_DIR", str(copy))
    saved = handler(save_message(bundle), Context())
    assert publish(saved)["publish"]["finished"] is True


def test_what_is_wanted_survives_the_way_through_the_state_machine() -> None:
    wanted = Wanted("2026-11-22", 3, trial=True, rebuild=False, calls=4)
    assert Wanted.read(json.loads(json.dumps(vars(wanted)))) == wanted


def test_the_pages_say_how_much_the_released_model_has_in_common_with_its_archive() -> None:
    released = Path(__file__).parents[2] / "layers" / "model" / "MODEL_CARD.md"
    shared = longest_shared(released.read_text())
    assert shared is not None
    assert all(0 < notes < 200 for notes in shared)
    assert longest_shared("# Model card\n\nNot evaluated.") is None
