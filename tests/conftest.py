"""Fixtures of all tests. Sets fake AWS credentials before any test can import boto3.

What could import boto3 is imported inside the fixtures, hence after that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from contract.bundle import Bundle, model_id_of, write_manifest

if TYPE_CHECKING:
    from miditok import MusicTokenizer

    from local_aws.server import LocalAws

for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]
os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_REGION="us-east-1",
    AWS_CONFIG_FILE="/dev/null",
    AWS_SHARED_CREDENTIALS_FILE="/dev/null",
    AWS_EC2_METADATA_DISABLED="true",
)


# What a bundle says of its archive (training/model/archive_facts.py).
ARCHIVE_FACTS: dict[str, Any] = {
    "copying": {
        "suffix": [0.0, 0.01, 0.05, 0.3, 0.6, 0.8, 0.9, 0.95],
        "suffix_in_new_bars": [0.0, 0.01, 0.02, 0.1, 0.3, 0.4, 0.4, 0.3],
        "plan": [[0.1, 0.3, 0.4, 0.7], [0.1, 0.6, 0.7, 0.8], [0.7, 0.9, 0.95, 0.99]],
    },
    "plans": {"folk": {"4/4": ["0/36/0 4 4-4e 4 4-8v"] * 8}},
    "archive": {"folk": {"4/4": {"115.93": 3}, "3/4": {"97.09": 1}}},
    "voices": ["chorale"],
}

# On a busy machine drawing examples is slow, which is no fault of what is tested.
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")

ROOT = Path(__file__).parents[1]
MUSIC_BUCKET = "midi-archive-music-123456789012-us-east-1"


def write_bundle(
    directory: Path, tokenizer: MusicTokenizer, model: bytes, **model_facts: Any
) -> None:
    """A bundle with these bytes as its model, whether or not they are a graph."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(model)
    tokenizer.save(directory)
    (directory / "MODEL_CARD.md").write_text("# A model for tests\n")
    names = sorted(tokenizer.vocab, key=lambda name: tokenizer.vocab[name])
    manifest = {
        "model_id": model_id_of(directory),
        "tokenizer": {"class": "REMI", "miditok": "3.1.0"},
        "model": {"context": 512, **model_facts},
        "vocabulary": [name.split("_", 1) for name in names],
        "grammar": {
            kind: sorted(followers) for kind, followers in tokenizer.tokens_types_graph.items()
        },
        "ids": {
            "pad": tokenizer.vocab["PAD_None"],
            "bos": tokenizer.vocab["BOS_None"],
            "eos": tokenizer.vocab["EOS_None"],
            "styles": {
                name.removeprefix("Style_"): tokenizer.vocab[name]
                for name in names
                if name.startswith("Style_")
            },
        },
        "sampling": {
            "temperature": 1.0,
            "top_p": 0.95,
            "top_k": 0,
            "min_p": 0.0,
            "candidates": 1,
            "duration_s": 90,
        },
        **ARCHIVE_FACTS,
        "training": {"parameters": 8, "pieces": 2},
    }
    write_manifest(directory, manifest)


@pytest.fixture(scope="session")
def tokenizer() -> MusicTokenizer:
    from training.data.tokenizer import make_tokenizer

    return make_tokenizer()


@pytest.fixture(scope="session")
def bundle_dir_without_model(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: MusicTokenizer
) -> Path:
    """A bundle whose model.onnx is not a graph, for whatever does not run the model."""
    directory = tmp_path_factory.mktemp("bundle-without-model")
    write_bundle(directory, tokenizer, b"not a graph")
    return directory


@pytest.fixture(scope="session")
def bundle(bundle_dir_without_model: Path) -> Bundle:
    return Bundle.load(bundle_dir_without_model)


@pytest.fixture(scope="session")
def sounds_dir(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    """The folder of the default sound bank, as the layer has it."""
    from zipfile import ZipFile

    from deploy.soundfont import build, programs_of

    place = tmp_path_factory.mktemp("sounds")
    packed = build(None, programs_of(bundle), place / "work", ROOT / "build", print)
    ZipFile(packed.path).extractall(place)
    return place / "sounds"


@pytest.fixture(scope="session")
def s3_client() -> Any:
    """One client for all tests: making one costs half a second. Only `s3` gives it an S3."""
    import boto3
    import moto  # noqa: F401 - takes hold of the clients that are made after its import

    return boto3.client("s3", region_name="us-east-1")


@pytest.fixture
def s3(s3_client: Any) -> Iterator[Any]:
    """An S3 client on an empty, in-process S3 that has the music bucket."""
    from moto import mock_aws

    with mock_aws():
        s3_client.create_bucket(Bucket=MUSIC_BUCKET)
        s3_client.put_bucket_versioning(
            Bucket=MUSIC_BUCKET, VersioningConfiguration={"Status": "Enabled"}
        )
        yield s3_client


@pytest.fixture(scope="session")
def tiny_model() -> Any:
    """An untrained model of a few thousand weights, seeded."""
    import torch

    from music.tracker import Vocabulary
    from training.data.tokenizer import make_tokenizer, vocabulary_entries
    from training.model.model import ModelConfig, MusicModel

    entries = vocabulary_entries(make_tokenizer())
    vocabulary = Vocabulary(entries)
    config = ModelConfig(
        vocabulary=vocabulary.size,
        pitches=vocabulary.pitches,
        programs=vocabulary.programs,
        channels=64,
        layers=2,
        heads=2,
        kv_heads=1,
        hidden=64,
        context=64,
    )
    torch.manual_seed(1)
    return MusicModel(config, entries).eval()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Path:
    """A whole bundle with a float32 graph of `tiny_model`: it composes, but not well."""
    from training.model.export import export_bundle

    directory = tmp_path_factory.mktemp("tiny-bundle") / "model"
    facts = {"note": "untrained, for tests"}
    texts = {"MODEL_CARD.md": "# An untrained model for tests\n"}
    export_bundle(tiny_model, directory, facts, None, texts)
    return directory


@pytest.fixture(scope="session")
def planned_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Path:
    """`tiny_bundle` with plans of form, copies that are believed, shares and a style in voices."""
    from training.model.export import export_bundle

    directory = tmp_path_factory.mktemp("planned-bundle") / "model"
    texts = {"MODEL_CARD.md": "# An untrained model for tests\n"}
    export_bundle(tiny_model, directory, {}, None, texts, ARCHIVE_FACTS)
    return directory


@pytest.fixture(scope="session")
def int8_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Path:
    """The same with int8 weights and cache, calibrated by guess."""
    import numpy as np

    from training.model.export import bundle_config, folded_weights, write_bundle
    from training.model.onnx_graph import build_graph, quantize_weights

    directory = tmp_path_factory.mktemp("int8-bundle") / "model"
    config = bundle_config(tiny_model, quantized=True)
    scales = np.full((config["layers"], 2), 0.05, np.float32)
    graph = quantize_weights(build_graph(config, *folded_weights(tiny_model), scales))
    texts = {"MODEL_CARD.md": "# An untrained model for tests\n"}
    write_bundle(directory, graph, config, {}, texts, tiny_model)
    return directory


@pytest.fixture(scope="module")
def deployed() -> Iterator[tuple[LocalAws, dict[str, Any]]]:
    """The real bundle and functions in a local AWS of their own, and deploy.sh's outputs.

    The state machine does not wait before its retries.
    """
    from local_aws.runtime import ensure_runtime
    from local_aws.server import LocalAws
    from local_run.deployment import deploy

    with LocalAws(ensure_runtime(ROOT / ".cache"), wait=lambda _: None) as aws:
        yield aws, deploy(aws)
