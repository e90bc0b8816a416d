"""Writing a piece: the order of the keys, what happens when S3 fails, what is never touched."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from contract.bundle import Bundle
from contract.errors import (
    AccessError,
    ConflictError,
    EventError,
    PromptError,
    StorageError,
    TokensError,
)
from contract.objects import Bucket
from contract.records import archive_keys, read_named
from contract.token_files import TokenStore
from midi_save.storage import LATEST_MIDI, LATEST_TOKENS, PieceStore
from tests.conftest import MUSIC_BUCKET

DATE = "2026-11-22"


class FaultyS3:
    """S3 as it is, but the n-th write (from 0) fails; remembers the writes' order and hashes."""

    def __init__(self, s3: Any, failing: int | None = None, error: Exception | None = None) -> None:
        self._s3 = s3
        self._failing = failing
        self._error = error or ClientError(
            {"Error": {"Code": "SlowDown", "Message": "Please reduce your request rate."}},
            "PutObject",
        )
        self.written: list[str] = []
        self.hashes: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def put_object(self, **request: Any) -> Any:
        if len(self.written) == self._failing:
            raise self._error
        self.written.append(request["Key"])
        self.hashes[request["Key"]] = request["ChecksumSHA256"]
        return self._s3.put_object(**request)


def save(
    s3: Any,
    date: str = DATE,
    midi: bytes = b"MThd and so on",
    started_day: str = DATE,
    *,
    piece: int | None = None,
    trial: bool = False,
) -> tuple[dict[str, Any], str | None]:
    origin = {"model_id": "ab" * 32, "date": date, "style": "folk", "seed": 7}
    record = {**origin, "duration_s": 61.5, "notes": 400}
    if piece is not None:
        record["piece"] = piece
    tokens = {**origin, "ids": [1, 2]}
    return PieceStore(MUSIC_BUCKET, s3).save(midi, tokens, record, started_day, trial=trial)


def objects(s3: Any) -> dict[str, bytes]:
    listed = s3.list_objects_v2(Bucket=MUSIC_BUCKET).get("Contents", [])
    return {
        entry["Key"]: s3.get_object(Bucket=MUSIC_BUCKET, Key=entry["Key"])["Body"].read()
        for entry in listed
    }


def test_the_archive_is_complete_before_the_latest_keys_change(s3: Any) -> None:
    watched = FaultyS3(s3)
    save(watched)
    keys = archive_keys(DATE)
    assert set(watched.written[:3]) == set(keys.values())
    assert watched.written[3:] == [LATEST_TOKENS, LATEST_MIDI]


def test_a_piece_is_under_the_keys_that_the_companion_site_reads(s3: Any) -> None:
    save(s3)
    assert set(objects(s3)) == {
        "neural-net/2026-11-22_sequence.mid",
        "neural-net/2026-11-22_sequence.json",
        "neural-net/2026-11-22_tokens.json",
        "neural-net/model-prediction.mid",
        "neural-net/token_sequence.json",
    }


def test_a_piece_of_a_batch_is_never_the_latest(s3: Any) -> None:
    save(s3, "2026-11-21", b"MThd daily")
    before = objects(s3)
    record, latest = save(s3, DATE, b"MThd of many", piece=7)
    assert latest is None
    added = {k: v for k, v in objects(s3).items() if k not in before}
    assert {k: objects(s3)[k] for k in before} == before
    assert (
        set(added)
        == set(record["keys"].values())
        == {
            "neural-net/2026-11-22-0007_sequence.mid",
            "neural-net/2026-11-22-0007_sequence.json",
            "neural-net/2026-11-22-0007_tokens.json",
        }
    )


def test_a_trial_leaves_everything_else_alone(s3: Any) -> None:
    save(s3, "2026-11-21", b"MThd daily")
    before = objects(s3)
    assert save(s3, DATE, trial=True)[1] == "trial/model-prediction.mid"
    assert save(s3, DATE, piece=1, trial=True)[1] is None
    after = objects(s3)
    assert {k: after[k] for k in before} == before
    assert all(key.startswith("trial/") for key in after.keys() - before.keys())
    assert "trial/token_sequence.json" in after
    # A later daily piece is not held back by the trial's day.
    assert save(s3, "2026-11-21", b"MThd again")[1] == LATEST_MIDI


def test_the_midi_says_what_it_is(s3: Any) -> None:
    save(s3)
    for key in (LATEST_MIDI, archive_keys(DATE)["archive"]):
        head = s3.head_object(Bucket=MUSIC_BUCKET, Key=key)
        assert head["ContentType"] == "audio/midi"
        assert head["Metadata"] == {
            "model-id": "ab" * 32,
            "seed": "7",
            "style": "folk",
            "duration-s": "61.5",
            "notes": "400",
            "date": DATE,
        }
    assert s3.head_object(Bucket=MUSIC_BUCKET, Key=LATEST_TOKENS)["ContentType"] == (
        "application/json"
    )


def test_every_object_is_sent_with_its_hash(s3: Any) -> None:
    watched = FaultyS3(s3)
    save(watched)
    for key, body in objects(s3).items():
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert watched.hashes[key] == digest


def test_the_record_in_s3_is_the_one_returned(s3: Any) -> None:
    record, latest = save(s3)
    assert latest == LATEST_MIDI
    assert json.loads(objects(s3)[archive_keys(DATE)["record"]]) == record
    assert record["keys"] == archive_keys(DATE)
    assert record["sha256"] == hashlib.sha256(b"MThd and so on").hexdigest()


def test_saving_a_day_again_writes_the_same_bytes(s3: Any) -> None:
    save(s3)
    first = objects(s3)
    save(s3)
    assert objects(s3) == first


def test_saving_a_day_again_writes_nothing(s3: Any) -> None:
    save(s3)
    again = FaultyS3(s3)
    assert save(again) == save(s3)
    assert again.written == []


def test_a_record_names_the_versions_that_were_written(s3: Any) -> None:
    record, _ = save(s3, midi=b"MThd first")
    save(s3, midi=b"MThd second")
    assert read_named(Bucket(MUSIC_BUCKET, s3), record, "archive") == b"MThd first"
    assert json.loads(read_named(Bucket(MUSIC_BUCKET, s3), record, "tokens"))["ids"] == [1, 2]


def test_saving_a_day_again_puts_back_what_a_failed_save_wrote_over_it(s3: Any) -> None:
    save(s3, midi=b"MThd kept")
    with pytest.raises(StorageError):
        save(FaultyS3(s3, 1), midi=b"MThd never committed")
    assert objects(s3)[archive_keys(DATE)["archive"]] == b"MThd never committed"
    record, _ = save(s3, midi=b"MThd kept")
    assert objects(s3)[archive_keys(DATE)["archive"]] == b"MThd kept"
    assert read_named(Bucket(MUSIC_BUCKET, s3), record, "archive") == b"MThd kept"


@pytest.mark.parametrize("torn", [b"", b'{"date": "2026', b"[]", b'{"keys": 3}'])
def test_a_torn_record_is_replaced(torn: bytes, s3: Any) -> None:
    s3.put_object(Bucket=MUSIC_BUCKET, Key=archive_keys(DATE)["record"], Body=torn)
    record, _ = save(s3)
    assert json.loads(objects(s3)[archive_keys(DATE)["record"]]) == record


def test_a_day_that_others_keep_changing_is_a_conflict_by_name(s3: Any) -> None:
    class Busy(FaultyS3):
        def put_object(self, **request: Any) -> Any:
            if request["Key"] == archive_keys(DATE)["record"]:
                other = json.dumps({"written": len(self.written)}).encode()
                self._s3.put_object(Bucket=MUSIC_BUCKET, Key=request["Key"], Body=other)
            return super().put_object(**request)

    with pytest.raises(ConflictError, match=r"_sequence\.json: it was changed by another"):
        save(Busy(s3))
    assert LATEST_MIDI not in objects(s3)


def test_an_object_that_the_bucket_has_under_another_version_is_told_by_its_hash(s3: Any) -> None:
    record, _ = save(s3)
    copied = {
        name: {**named, "version": "of-another-bucket"} for name, named in record["objects"].items()
    }
    bucket = Bucket(MUSIC_BUCKET, s3)
    assert read_named(bucket, {**record, "objects": copied}, "archive") == b"MThd and so on"
    save(s3, midi=b"MThd another")
    with pytest.raises(TokensError, match="is not the object that its record names"):
        read_named(bucket, {**record, "objects": copied}, "archive")


def test_a_bucket_without_versions_is_written_again_each_time(s3: Any) -> None:
    s3.put_bucket_versioning(Bucket=MUSIC_BUCKET, VersioningConfiguration={"Status": "Suspended"})
    save(s3)
    s3.put_object(Bucket=MUSIC_BUCKET, Key=archive_keys(DATE)["archive"], Body=b"half")
    save(s3)
    assert objects(s3)[archive_keys(DATE)["archive"]] == b"MThd and so on"


def test_the_latest_day_made_again_replaces_the_latest_piece(s3: Any) -> None:
    save(s3, "2026-11-22", b"MThd first")
    save(s3, "2026-11-22", b"MThd second")
    assert objects(s3)[LATEST_MIDI] == b"MThd second"


def test_an_older_day_leaves_the_latest_piece_alone(s3: Any) -> None:
    save(s3, "2026-11-22", b"MThd newer")
    _, latest = save(s3, "2026-11-21", b"MThd older")
    assert latest is None
    stored = objects(s3)
    assert stored[LATEST_MIDI] == b"MThd newer"
    assert json.loads(stored[LATEST_TOKENS])["date"] == "2026-11-22"
    assert stored[archive_keys("2026-11-21")["archive"]] == b"MThd older"


def test_saving_an_older_day_again_after_a_newer_one_changes_no_byte(s3: Any) -> None:
    save(s3, "2026-11-21", b"MThd older")
    save(s3, "2026-11-22", b"MThd newer")
    before = objects(s3)
    save(s3, "2026-11-21", b"MThd older")
    assert objects(s3) == before


@pytest.mark.parametrize("date", ["2026-11-22", "2026-11-21"])
def test_a_piece_from_the_future_does_not_stay_the_latest(date: str, s3: Any) -> None:
    assert save(s3, "2062-11-22", b"MThd mistyped")[1] == LATEST_MIDI
    assert save(s3, date, b"MThd typed well", started_day="2026-11-22")[1] == LATEST_MIDI
    stored = objects(s3)
    assert stored[LATEST_MIDI] == b"MThd typed well"
    assert json.loads(stored[LATEST_TOKENS])["date"] == date


def test_a_piece_of_the_day_of_the_execution_is_not_from_the_future(s3: Any) -> None:
    save(s3, "2026-11-22", b"MThd today")
    assert save(s3, "2026-11-21", started_day="2026-11-22")[1] is None
    assert objects(s3)[LATEST_MIDI] == b"MThd today"


@pytest.mark.parametrize("body", [b"", b"[1, 2, 3]", b'{"date": 7}', b'{"date": "tomorrow"}'])
def test_latest_tokens_without_a_date_are_replaced(body: bytes, s3: Any) -> None:
    s3.put_object(Bucket=MUSIC_BUCKET, Key=LATEST_TOKENS, Body=body)
    assert save(s3)[1] == LATEST_MIDI


@pytest.mark.parametrize("failing", range(5))
def test_a_write_that_fails_leaves_no_half_piece_and_can_be_repeated(failing: int, s3: Any) -> None:
    save(s3, "2026-11-21", b"MThd yesterday")
    with pytest.raises(StorageError, match=r"cannot write s3://.*SlowDown"):
        save(FaultyS3(s3, failing))
    stored = objects(s3)
    assert stored[LATEST_MIDI] == b"MThd yesterday"
    if json.loads(stored[LATEST_TOKENS])["date"] == DATE:
        assert all(key in stored for key in archive_keys(DATE).values())
    save(s3, "2026-11-20", b"MThd older")
    assert objects(s3)[LATEST_MIDI] == b"MThd yesterday"
    save(s3)
    assert objects(s3)[LATEST_MIDI] == b"MThd and so on"


def test_a_connection_that_breaks_is_a_storage_error(s3: Any) -> None:
    broken = FaultyS3(s3, 0, EndpointConnectionError(endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(StorageError, match="Could not connect"):
        save(broken)


def test_a_refused_read_of_the_latest_date_is_not_taken_for_none(s3: Any) -> None:
    class Refusing(FaultyS3):
        def get_object(self, **request: Any) -> Any:
            if request["Key"] != LATEST_TOKENS:
                return self._s3.get_object(**request)
            answer: Any = {
                "Error": {"Code": "AccessDenied", "Message": "no"},
                "ResponseMetadata": {"HTTPStatusCode": 403},
            }
            raise ClientError(answer, "GetObject")

    watched = Refusing(s3)
    with pytest.raises(AccessError, match=r"cannot read s3://.*token_sequence\.json.*Denied"):
        save(watched)
    assert set(watched.written) == set(archive_keys(DATE).values())


def test_tomorrow_finds_the_tokens_saved_today(s3: Any, bundle: Bundle) -> None:
    tokens = {"model_id": bundle.model_id, "date": DATE, "style": "folk", "seed": 7, "ids": [1, 3]}
    record = {**tokens, "duration_s": 1.0, "notes": 1}
    PieceStore(MUSIC_BUCKET, s3).save(b"MThd", tokens, record, DATE)
    previous = TokenStore(MUSIC_BUCKET, bundle, s3).previous("2026-11-23")
    assert (previous.date, previous.ids) == (DATE, (1, 3))


def test_a_prompt_is_read(s3: Any) -> None:
    s3.put_object(Bucket=MUSIC_BUCKET, Key="prompts/a/tune é.mid", Body=b"MThd")
    uri = f"s3://{MUSIC_BUCKET}/prompts/a/tune é.mid"
    assert PieceStore(MUSIC_BUCKET, s3).read_prompt(uri) == b"MThd"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://another-bucket/prompts/tune.mid",
        f"s3://{MUSIC_BUCKET}/neural-net/model-prediction.mid",
        f"s3://{MUSIC_BUCKET}/prompts/tune.txt",
        f"s3://{MUSIC_BUCKET}-2/prompts/tune.mid",
        "previous",
    ],
)
def test_a_prompt_elsewhere_is_refused_with_the_accepted_form(uri: str, s3: Any) -> None:
    with pytest.raises(EventError, match=rf"prompt must be s3://{MUSIC_BUCKET}/prompts/NAME\.mid"):
        PieceStore(MUSIC_BUCKET, s3).read_prompt(uri)


def test_a_missing_prompt_is_named(s3: Any) -> None:
    with pytest.raises(PromptError, match=r"no prompt at .*nothing\.mid"):
        PieceStore(MUSIC_BUCKET, s3).read_prompt(f"s3://{MUSIC_BUCKET}/prompts/nothing.mid")


def test_a_prompt_of_40_mb_is_refused_before_it_is_read(s3: Any) -> None:
    class Unread:
        def read(self) -> bytes:
            raise AssertionError("the body was read")

    class Huge(FaultyS3):
        def get_object(self, **_: Any) -> Any:
            return {"ContentLength": 40_000_000, "Body": Unread()}

    with pytest.raises(PromptError, match=r"is 40\.0 MB; the limit is 1 MB"):
        PieceStore(MUSIC_BUCKET, Huge(s3)).read_prompt(f"s3://{MUSIC_BUCKET}/prompts/huge.mid")
