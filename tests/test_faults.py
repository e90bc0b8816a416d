"""What goes wrong outside the code: prompts, stored tokens, budgets, bundles; the real chain.

Faults of single calls are in the bench (tests/bench).

Each test asks what the execution says and what is in the bucket afterwards.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from local_aws.schedule import fire_for
from local_aws.server import LocalAws
from local_run.days import ComposeError, compose_day
from local_run.executions import wait_for
from tests.stored import put_day

Deployed = tuple[LocalAws, dict[str, Any]]
LATEST = ("neural-net/model-prediction.mid", "neural-net/token_sequence.json")


def kept(deployed: Deployed, prefix: str = "neural-net/") -> dict[str, str]:
    """Key to ETag of what is in the music bucket."""
    aws, names = deployed
    listed = aws.client("s3").list_objects_v2(Bucket=names["music_bucket"], Prefix=prefix)
    return {found["Key"]: found["ETag"] for found in listed.get("Contents", [])}


def model_id() -> str:
    manifest = Path(__file__).parents[1] / "layers" / "model" / "bundle.json"
    return str(json.loads(manifest.read_text())["model_id"])


def client_and_bucket(deployed: Deployed) -> tuple[Any, str]:
    aws, names = deployed
    return aws.client("s3"), names["music_bucket"]


def put(deployed: Deployed, key: str, body: bytes) -> str:
    client, bucket = client_and_bucket(deployed)
    client.put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/{key}"


@contextmanager
def reconfigured(deployed: Deployed, function: str, **settings: Any) -> Iterator[None]:
    """Another configuration of one function, put back at the end."""
    aws, names = deployed
    client = aws.client("lambda")
    name = f"{names['name']}-{function}"
    before = client.get_function_configuration(FunctionName=name)
    if "Environment" in settings:
        settings["Environment"] = {
            "Variables": before["Environment"]["Variables"] | settings["Environment"]
        }
    client.update_function_configuration(FunctionName=name, **settings)
    try:
        yield
    finally:
        client.update_function_configuration(
            FunctionName=name,
            Timeout=before["Timeout"],
            Environment={"Variables": before["Environment"]["Variables"]},
            Layers=[layer["Arn"] for layer in before["Layers"]],
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>not found</html>", "not MIDI"),
        (b"", "empty"),
        (b"MThd" + bytes(40_000_000), "40.0 MB"),
        (b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0", "0 usable notes"),
    ],
    ids=["html", "empty", "40 MB", "no notes"],
)
def test_a_prompt_that_is_no_music_is_refused_by_name(
    deployed: Deployed, tmp_path: Path, content: bytes, message: str
) -> None:
    uri = put(deployed, "prompts/bad.mid", content)
    before = kept(deployed)
    with pytest.raises(ComposeError, match=f"PromptError: .*{message}"):
        compose_day(*deployed, date(2026, 1, 1), {"prompt": uri}, tmp_path)
    assert kept(deployed) == before


def test_tokens_of_another_bundle_are_left_alone_and_it_says_so(
    deployed: Deployed, tmp_path: Path
) -> None:
    tokens = {"model_id": "f" * 64, "date": "2025-06-01", "style": "folk", "seed": 1, "ids": [1, 3]}
    put_day(*client_and_bucket(deployed), "2025-06-01", json.dumps(tokens).encode())
    piece = compose_day(*deployed, date(2025, 6, 2), {"duration_s": 8}, tmp_path)
    assert piece.continued_from is None
    assert "made by another model" in (piece.fresh_because or "")


@pytest.mark.parametrize("ids", [None, [1, 3, 60]], ids=["cut off", "no music"])
def test_damaged_tokens_do_not_stop_the_next_days(
    deployed: Deployed, tmp_path: Path, ids: list[int] | None
) -> None:
    tokens = {"model_id": model_id(), "date": "2025-07-01", "style": "folk", "seed": 1, "ids": ids}
    body = json.dumps(tokens).encode()
    put_day(*client_and_bucket(deployed), "2025-07-01", body if ids else body[:40])
    piece = compose_day(*deployed, date(2025, 7, 2), {"duration_s": 8}, tmp_path)
    assert piece.continued_from is None
    assert "2025-07-01" in (piece.fresh_because or "") and "damaged" in (piece.fresh_because or "")


def published(deployed: Deployed, name: str) -> bytes:
    """A file of the site."""
    client, bucket = client_and_bucket(deployed)
    return bytes(client.get_object(Bucket=bucket, Key=f"site/{name}")["Body"].read())


def test_two_executions_of_one_day_leave_the_day_of_one_of_them(deployed: Deployed) -> None:
    aws, names = deployed
    client, bucket = client_and_bucket(deployed)
    for day in (date(2028, 1, 1), date(2028, 1, 2)):
        events = [{"duration_s": 8, "candidates": 1, "seed": seed} for seed in (1, 2, 3)]
        running = [fire_for(aws, names["schedule"], day, event) for event in events]
        ended = [wait_for(aws, execution, timeout_s=200) for execution in running]
        assert {end["status"] for end in ended} == {"SUCCEEDED"}
        record = json.loads(
            client.get_object(Bucket=bucket, Key=f"neural-net/{day}_sequence.json")["Body"].read()
        )
        for name, latest in zip(("archive", "tokens"), LATEST, strict=True):
            named = record["objects"][name]
            key, version = record["keys"][name], named["version"]
            body = client.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()
            assert hashlib.sha256(body).hexdigest() == named["sha256"]
            assert client.get_object(Bucket=bucket, Key=latest)["Body"].read() == body
        tokens = json.loads(client.get_object(Bucket=bucket, Key=LATEST[1])["Body"].read())
        assert tokens["seed"] == record["seed"]
        midi = record["sha256"][:12]
        assert f"midi/{day}-{midi}.mid".encode() in published(deployed, f"days/{day}.html")


def test_a_rebuild_brings_back_what_was_lost_and_makes_no_piece(deployed: Deployed) -> None:
    aws, names = deployed
    client, bucket = client_and_bucket(deployed)
    compose_event = {"duration_s": 8, "candidates": 1, "prompt": "fresh"}
    ended = wait_for(aws, fire_for(aws, names["schedule"], date(2030, 1, 1), compose_event))
    assert ended["status"] == "SUCCEEDED"
    pieces, page = kept(deployed), published(deployed, "days/2030-01-01.html")
    for name in ("feed.xml", "days/2030-01-01.html", "catalogue.json"):
        client.delete_object(Bucket=bucket, Key=f"site/{name}")
    execution = aws.client("stepfunctions").start_execution(
        stateMachineArn=names["state_machine_arn"], name="rebuild", input='{"rebuild_site": true}'
    )
    assert wait_for(aws, execution["executionArn"])["status"] == "SUCCEEDED"
    assert published(deployed, "days/2030-01-01.html") == page
    assert b"2030-01-01" in published(deployed, "feed.xml")
    assert kept(deployed) == pieces


def test_a_short_time_out_takes_several_calls_to_the_same_bytes(
    deployed: Deployed, tmp_path: Path
) -> None:
    event = {"duration_s": 450, "prompt": "fresh", "seed": 11, "candidates": 8}
    whole = compose_day(*deployed, date(2026, 8, 1), event, tmp_path / "whole")
    # Three seconds on an idle machine, less than a fast one takes. A busy one needs more than that
    # to read again what there was.
    timeout_s = max(3, int(0.6 * whole.stages_s["Generate"]))
    with reconfigured(deployed, "generate-tokens", Timeout=timeout_s):
        parts = compose_day(*deployed, date(2026, 8, 1), event, tmp_path / "parts")
    assert whole.calls == 1 < parts.calls
    assert Path(whole.midi).read_bytes() == Path(parts.midi).read_bytes()
    record = Path(parts.midi).with_suffix(".json").read_bytes()
    assert record == Path(whole.midi).with_suffix(".json").read_bytes()


def test_a_piece_can_be_closed_when_its_call_ends(deployed: Deployed, tmp_path: Path) -> None:
    event = {"duration_s": 3600, "prompt": "fresh", "seed": 3, "budget_end": "close"}
    with reconfigured(deployed, "generate-tokens", Timeout=3):
        piece = compose_day(*deployed, date(2026, 8, 2), event, tmp_path)
    record = json.loads(Path(piece.midi).with_suffix(".json").read_text())
    assert (piece.calls, record["stopped"]) == (1, "budget")
    assert 10 < piece.seconds < 3600


@pytest.mark.parametrize("function", ["generate-tokens", "midi-save"])
def test_a_damaged_bundle_is_refused_by_the_function_that_has_it(
    deployed: Deployed, tmp_path: Path, function: str
) -> None:
    aws, names = deployed
    client = aws.client("lambda")
    bundle = Path(__file__).parents[1] / "layers" / "model"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for path in bundle.iterdir():
            content = path.read_bytes()
            cut = len(content) // 2 if path.name == "model.onnx" else len(content)
            entry = zipfile.ZipInfo(f"model/{path.name}")
            entry.external_attr = 0o644 << 16  # else nobody but root could read it
            files.writestr(entry, content[:cut])
    damaged = client.publish_layer_version(
        LayerName=f"damaged-{function}", Content={"ZipFile": archive.getvalue()}
    )["LayerVersionArn"]
    whole = client.get_function_configuration(FunctionName=f"{names['name']}-{function}")
    layers = [damaged if "-model:" in layer["Arn"] else layer["Arn"] for layer in whole["Layers"]]
    before = kept(deployed)
    with (
        reconfigured(deployed, function, Layers=layers),
        pytest.raises(ComposeError, match="BundleError: .*model.onnx"),
    ):
        compose_day(*deployed, date(2026, 8, 3), {"duration_s": 8}, tmp_path)
    assert kept(deployed) == before


@pytest.mark.parametrize("broken", [False, True])
def test_a_deployment_ends_with_a_trial_piece_that_leaves_nothing(
    deployed: Deployed, broken: bool
) -> None:
    aws, names = deployed
    before = kept(deployed, "")
    options = ["--runtime", f"python{sys.version_info.major}.{sys.version_info.minor}"]
    options += ["--alarm-email", f"me{broken:d}@example.org"]  # something has to change
    fault = aws.fail_next("s3", "PutObject", "trial/", times=1000 if broken else 0, status=403)
    try:
        done = subprocess.run(
            [str(Path(__file__).parents[1] / "deploy.sh"), *options],
            env={**os.environ, **aws.env},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=200,
            check=False,
        )
    finally:
        aws.clear_faults()
    if broken:
        assert done.returncode == 1 and fault.hits
        assert "the trial piece failed with AccessError" in done.stderr
        assert "--rollback" not in done.stderr, "there is no model before"
    else:
        assert done.returncode == 0, done.stderr
        assert "trial piece: composed and deleted" in done.stdout
    assert kept(deployed, "") == before
    versions = aws.client("s3").list_object_versions(Bucket=names["music_bucket"], Prefix="trial/")
    assert not {"Versions", "DeleteMarkers"} & set(versions)
