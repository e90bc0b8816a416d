"""Token files in S3: which piece is the previous one, and nothing is believed unread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from contract.bundle import Bundle
from contract.checks import require_execution_name
from contract.errors import (
    AccessError,
    BucketError,
    ModelMismatchError,
    StorageError,
    TokensError,
)
from contract.job import Generation, Job
from contract.objects import S3_CONFIG, SLOWEST_CALL_S
from contract.request import parse_request
from contract.token_files import MOST_IDS, TokenStore
from tests.conftest import MUSIC_BUCKET
from tests.stored import put_day

DATE = "2026-11-22"
MakeJob = Callable[[str, int, str, int], Job]


def put_tokens(
    s3: Any, bundle: Bundle, date: str, prefix: str = "neural-net/", **changes: Any
) -> None:
    content = {"model_id": bundle.model_id, "date": date, "ids": [1, 3, 13], **changes}
    put_day(s3, MUSIC_BUCKET, date, json.dumps(content).encode(), prefix)


@pytest.fixture
def job_at(bundle: Bundle) -> MakeJob:
    """Makes a job of an execution, whose ids are at a URI after so many calls."""
    request = parse_request({}, bundle, DATE)

    def job(execution: str, calls: int, uri: str, count: int) -> Job:
        made = Generation(stored_at=uri, lengths=[count], calls=calls)
        return Job(execution, f"{DATE}T06:00:00Z", request, generation=made)

    return job


def assert_damaged(store: TokenStore) -> None:
    """The piece of 2026-11-21 is not continued, and the reason names the file."""
    previous = store.previous(DATE)
    assert (previous.date, previous.ids) == (None, ())
    reason = "the tokens of 2026-11-21 are damaged: neural-net/2026-11-21_tokens.json"
    assert (previous.fresh_because or "").startswith(reason)


@pytest.fixture
def store(s3: Any, bundle: Bundle) -> TokenStore:
    return TokenStore(MUSIC_BUCKET, bundle, s3)


def test_the_newest_piece_before_the_day_is_the_previous_one(
    s3: Any, store: TokenStore, bundle: Bundle
) -> None:
    for date in ("2026-11-01", "2026-11-20", "2026-11-22", "2026-11-23"):
        put_tokens(s3, bundle, date)
    for name in ("2026-11-21_sequence.mid", "2026-11-21_tokens.json"):  # without a record
        s3.put_object(Bucket=MUSIC_BUCKET, Key=f"neural-net/{name}", Body=b"not committed")
    previous = store.previous(DATE)
    assert (previous.date, previous.ids) == ("2026-11-20", (1, 3, 13))
    assert previous.fresh_because is None


def test_a_piece_of_a_batch_is_not_the_previous_one(
    s3: Any, store: TokenStore, bundle: Bundle
) -> None:
    for name in ("2026-11-19", "2026-11-20-0001", "2026-11-21-1000"):
        put_tokens(s3, bundle, name)
    assert store.previous(DATE).date == "2026-11-19"


def test_a_trial_goes_on_from_trials_only(s3: Any, store: TokenStore, bundle: Bundle) -> None:
    put_tokens(s3, bundle, "2026-11-21")
    assert store.previous(DATE, trial=True).date is None
    put_tokens(s3, bundle, "2026-11-20", prefix="trial/", ids=[1, 3, 14])
    assert store.previous(DATE, trial=True).ids == (1, 3, 14)
    assert store.previous(DATE).ids == (1, 3, 13)


def test_the_31st_day_back_counts_and_the_32nd_does_not(
    s3: Any, store: TokenStore, bundle: Bundle
) -> None:
    put_tokens(s3, bundle, "2026-10-21")
    assert store.previous(DATE).fresh_because == "no piece in the 31 days before 2026-11-22"
    put_tokens(s3, bundle, "2026-10-22")
    assert store.previous(DATE).date == "2026-10-22"


def test_a_bucket_with_more_keys_than_a_page_is_read_to_the_day(s3: Any, bundle: Bundle) -> None:
    class SmallPages:
        """S3 as it is, but two keys a page."""

        def __getattr__(self, name: str) -> Any:
            return getattr(s3, name)

        def list_objects_v2(self, **request: Any) -> Any:
            return s3.list_objects_v2(**request, MaxKeys=2)

    for day in range(1, 29):
        put_tokens(s3, bundle, f"2026-11-{day:02}")
    assert TokenStore(MUSIC_BUCKET, bundle, SmallPages()).previous(DATE).date == "2026-11-21"


def test_a_piece_of_another_model_starts_afresh_and_says_so(
    s3: Any, store: TokenStore, bundle: Bundle
) -> None:
    put_tokens(s3, bundle, "2026-11-21", model_id="ab" * 32)
    previous = store.previous(DATE)
    assert previous.ids == ()
    assert previous.fresh_because == (
        "the piece of 2026-11-21 was made by another model ('abababab')"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": []},
        {"ids": [1]},
        {"ids": [3, 1, 13]},
        {"ids": [1, 13]},
        {"ids": "1 2"},
        {"ids": [1, 9999]},
        {"ids": None},
        {"model_id": 7},
    ],
)
def test_a_token_file_out_of_form_starts_afresh_and_says_so(
    changes: dict[str, Any], s3: Any, store: TokenStore, bundle: Bundle
) -> None:
    put_tokens(s3, bundle, "2026-11-21", **changes)
    assert_damaged(store)


@pytest.mark.parametrize("body", [b"", b"[1, 2]", b"<html>", b" " * 8_000_001])
def test_a_token_file_that_is_no_json_object_or_too_large_starts_afresh_and_says_so(
    body: bytes, s3: Any, store: TokenStore
) -> None:
    put_day(s3, MUSIC_BUCKET, "2026-11-21", body)
    assert_damaged(store)


def test_the_tokens_of_a_run_come_back(store: TokenStore, job_at: MakeJob) -> None:
    uri = store.write_run("daily-1", 2, [1, 2, 3])
    assert uri == f"s3://{MUSIC_BUCKET}/runs/daily-1/tokens-2.json"
    assert store.ids_of(job_at("daily-1", 2, uri, 3)) == [1, 2, 3]


def test_a_call_that_died_after_its_write_can_be_repeated(
    store: TokenStore, job_at: MakeJob
) -> None:
    uri = store.write_run("daily-1", 2, [1, 2, 3])
    store.write_run("daily-1", 3, [1, 2, 3, 4, 5])  # its answer was lost
    assert store.ids_of(job_at("daily-1", 2, uri, 3)) == [1, 2, 3]


def test_the_tokens_of_another_run_or_number_are_refused(
    store: TokenStore, job_at: MakeJob
) -> None:
    uri = store.write_run("daily-1", 2, [1, 2, 3])
    with pytest.raises(TokensError, match="holds 3 ids, the message says 4"):
        store.ids_of(job_at("daily-1", 2, uri, 4))
    with pytest.raises(TokensError, match=r"stored_at must be"):
        store.ids_of(job_at("daily-2", 2, uri, 3))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is not JSON"),
        (b"[]", "must hold an object"),
        (b"{}", "model_id must be a string"),
        (b" " * 8_000_001, "is 8.0 MB"),
        (None, "is missing"),
    ],
)
def test_run_tokens_out_of_form_are_refused(
    body: bytes | None, reason: str, s3: Any, store: TokenStore, job_at: MakeJob
) -> None:
    key = "runs/daily-1/tokens-2.json"
    if body is not None:
        s3.put_object(Bucket=MUSIC_BUCKET, Key=key, Body=body)
    with pytest.raises(TokensError, match=f"{key}.* {reason}"):
        store.ids_of(job_at("daily-1", 2, f"s3://{MUSIC_BUCKET}/{key}", 1))


def test_a_run_of_another_model_is_refused(s3: Any, store: TokenStore, job_at: MakeJob) -> None:
    uri = store.write_run("daily-1", 2, [1])
    body = json.dumps({"model_id": "0" * 64, "ids": [1]}).encode()
    s3.put_object(Bucket=MUSIC_BUCKET, Key="runs/daily-1/tokens-2.json", Body=body)
    with pytest.raises(ModelMismatchError):
        store.ids_of(job_at("daily-1", 2, uri, 1))


@pytest.mark.parametrize("name", ["a.b", "..", "Stück_1", "名前", "a+b=c@d!(e)'", "x" * 80])
def test_whatever_step_functions_allows_as_a_name_has_tokens_of_its_own(
    name: str, store: TokenStore, job_at: MakeJob
) -> None:
    assert require_execution_name(name, "here") == name
    uri = store.write_run(name, 2, [1, 2, 3])
    assert uri.isascii() and ".." not in uri
    assert store.ids_of(job_at(name, 2, uri, 3)) == [1, 2, 3]
    with pytest.raises(TokensError):
        store.ids_of(job_at(f"{name}x", 2, uri, 3))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a\n", "x" * 81, "\ud800", 3, None, "a:b"])
def test_what_is_no_name_of_an_execution_is_refused(name: object) -> None:
    with pytest.raises(TokensError, match="here must be"):
        require_execution_name(name, "here")


def test_a_missing_bucket_is_named(s3: Any, bundle: Bundle) -> None:
    with pytest.raises(BucketError, match=r"s3://no-such-bucket/neural-net/.*NoSuchBucket"):
        TokenStore("no-such-bucket", bundle, s3).previous(DATE)


def test_an_unreachable_s3_is_a_storage_error(bundle: Bundle) -> None:
    nowhere = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9",  # the discard port: nothing listens
        config=Config(retries={"max_attempts": 0}, connect_timeout=1),
    )
    with pytest.raises(StorageError, match="cannot write"):
        TokenStore(MUSIC_BUCKET, bundle, nowhere).write_run("daily-1", 2, [1])


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("list_objects_v2", lambda store: store.previous(DATE)),
        ("get_object", lambda store: store.previous(DATE)),
        ("put_object", lambda store: store.write_run("daily-1", 2, [1])),
    ],
)
def test_refused_credentials_are_an_access_error_that_no_retry_is_worth(
    operation: str, call: Callable[[TokenStore], object], s3: Any, bundle: Bundle
) -> None:
    class Refusing:
        """S3 as it is, but the role's policy lacks one action."""

        def __getattr__(self, name: str) -> Any:
            return self.refuse if name == operation else getattr(s3, name)

        def refuse(self, **request: Any) -> Any:
            answer: Any = {
                "Error": {"Code": "AccessDenied", "Message": "Access Denied"},
                "ResponseMetadata": {"HTTPStatusCode": 403},
            }
            raise ClientError(answer, operation)

    put_tokens(s3, bundle, "2026-11-21")
    store = TokenStore(MUSIC_BUCKET, bundle, Refusing())
    with pytest.raises(AccessError, match=f"s3://{MUSIC_BUCKET}/.*: check the policy") as refused:
        call(store)
    assert not isinstance(refused.value, StorageError)


def test_more_ids_than_an_hour_of_music_has_are_damaged(
    s3: Any, bundle: Bundle, store: TokenStore
) -> None:
    put_tokens(s3, bundle, "2026-11-21", ids=[1, 3] + [13] * MOST_IDS)
    assert_damaged(store)
    put_tokens(s3, bundle, "2026-11-21", ids=[1, 3] + [13] * (MOST_IDS - 2))
    assert store.previous(DATE).date == "2026-11-21"


@pytest.fixture
def overloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The requests that reached an S3 which answers each with 503."""
    requests: list[str] = []

    class Overloaded(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            requests.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: standard error is the tests' own."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Overloaded) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield requests
        server.shutdown()
        thread.join()


def test_a_call_is_tried_twice_and_then_given_up(overloaded: list[str], bundle: Bundle) -> None:
    client = boto3.client("s3", config=Config(**S3_CONFIG))
    with pytest.raises(StorageError, match="503"):
        TokenStore(MUSIC_BUCKET, bundle, client).write_run("daily-1", 2, [1])
    assert len(overloaded) == 2


def test_a_call_that_nobody_answers_ends_within_15_seconds() -> None:
    one_attempt_s = S3_CONFIG["connect_timeout"] + S3_CONFIG["read_timeout"]
    assert S3_CONFIG["retries"]["total_max_attempts"] * one_attempt_s + 1 == SLOWEST_CALL_S <= 15
