"""What starting a deployed function may load; and that without the Hub's client nothing changes.

Modules are asked for, not seconds, which would be flaky: benchmarks/cold_start.py measures those.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from miditok import MusicTokenizer

from benchmarks.cold_start import FUNCTIONS, environment, lay_out
from contract.bundle import Bundle
from local_aws.runtime import ensure_runtime
from midi_save.detokenize import detokenize
from tests.midi_save.music import TestNote, ids_of, piece_tokens

ROOT = Path(__file__).parents[1]

MAY_LOAD = {
    "generate_tokens": {"numpy", "onnxruntime"},
    "midi_save": {
        "miditok", "mido", "numpy", "symusic", "tokenizers",
        "tqdm",  # miditok's progress bars
        "packaging",  # mido's version
        "platformdirs", "pySmartDL",  # symusic's soundfonts
        "huggingface_hub",  # the stand-in
    },
}  # fmt: skip

INIT = """
import sys
import {function}.handler
files = {{name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}}
import gc, json
print(json.dumps({{"files": files, "frozen": gc.get_freeze_count()}}))
"""


@pytest.fixture(scope="module")
def runtime() -> Path:
    return ensure_runtime(ROOT / ".cache")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each function with its layers, as deployed."""
    return {
        function: lay_out(function, tmp_path_factory.mktemp(function)) for function in FUNCTIONS
    }


def run(program: str, place: Path, runtime: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-c", program],
        cwd=place / "task",
        env={**environment(place, runtime), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def init(function: str, place: Path, runtime: Path) -> dict[str, Any]:
    """What is there after the function's init phase."""
    program = INIT.format(function=function)
    return dict(json.loads(run(program, place, runtime, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1")))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_init_phase_loads_nothing_that_is_not_listed_here(
    function: str, places: dict[str, Path], runtime: Path
) -> None:
    files = init(function, places[function], runtime)["files"]
    layer = str(places[function] / "opt")
    loaded = {name.partition(".")[0] for name, file in files.items() if file.startswith(layer)}
    assert "numpy" in loaded
    assert loaded <= MAY_LOAD[function]
    # boto3 comes with the first call that needs S3, as a message that is refused does not.
    assert [name for name, file in files.items() if file.startswith(str(runtime))] == []


def test_the_midi_save_layer_has_the_stand_in_and_not_the_hub(places: dict[str, Path]) -> None:
    layer = places["midi_save"] / "opt" / "python"
    assert [path.name for path in layer.glob("huggingface_hub*")] == ["huggingface_hub.py"]
    assert [*layer.glob("httpx*"), *layer.glob("yaml*"), *layer.glob("filelock*")] == []


def test_the_stand_in_changes_no_byte_of_a_piece(
    places: dict[str, Path], runtime: Path, bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    notes = [TestNote(6 * i, program, 48 + i % 24, 6) for i in range(64) for program in (0, 48)]
    ids = ids_of(piece_tokens(notes, bundle), bundle)
    program = (
        "import hashlib, os\n"
        "from contract.bundle import Bundle\n"
        "from midi_save.detokenize import detokenize, load_tokenizer\n"
        "from midi_save.prompt import ids_of_prompt\n"
        "b = Bundle.load(os.environ['MODEL_DIR'])\n"
        "tokenizer = load_tokenizer(b)\n"
        f"piece = detokenize({ids!r}, tokenizer, b, 'title')\n"
        "assert ids_of_prompt(piece.midi, tokenizer, b)\n"
        "print(hashlib.sha256(piece.midi).hexdigest())\n"
    )
    digest = run(program, places["midi_save"], runtime, MODEL_DIR=str(bundle.directory))
    real = detokenize(ids, tokenizer, bundle, "title")
    assert digest == hashlib.sha256(real.midi).hexdigest()


@pytest.mark.parametrize(
    "call",
    [
        "miditok.REMI.from_pretrained('someone/tokenizer')",
        "miditok.REMI().push_to_hub('tokenizer')",
        "miditok.midi_tokenizer.hf_hub_download('someone/tokenizer')",
    ],
)
def test_whatever_would_reach_the_hub_fails_and_says_what_to_do(
    call: str, places: dict[str, Path], runtime: Path
) -> None:
    program = f"import miditok\ntry: {call}\nexcept NotImplementedError as e: print(e)"
    said = run(program, places["midi_save"], runtime)
    assert "midi_save/stand_ins/huggingface_hub.py" in said
    assert "midi_save/requirements.txt" in said


def test_what_imports_made_is_not_looked_through_for_garbage(
    places: dict[str, Path], runtime: Path
) -> None:
    assert init("midi_save", places["midi_save"], runtime)["frozen"] > 10_000
