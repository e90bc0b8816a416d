"""The table of borders: what comes in from outside, damaged in a few places, and how it is refused.

Of each border are told: how many cases there were, what was raised, the longest time of one case in
CPU seconds, and the most memory of the process.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from contract.bundle import Bundle, model_id_of, read_manifest, write_manifest
from contract.errors import BundleError, EventError, ModelMismatchError, PromptError, TokensError
from contract.job import read_job
from contract.objects import as_json
from contract.request import parse_request
from contract.token_files import TokenStore
from deploy.errors import DeployError
from deploy.options import parse
from generate_tokens.compose import Composer
from generate_tokens.progress import before_first_call
from local_run.options import check, parse_arguments
from midi_save.detokenize import load_tokenizer
from midi_save.prompt import ids_of_prompt
from midi_save.publishing.task import Wanted
from tests.damage import damaged_bytes, damaged_file, damaged_json
from tests.midi_save.bombs import bombs
from tests.midi_save.publishing.days import day, published, saved
from tests.site.pieces import THEME, midi_of
from tests.versioned_s3 import VersionedS3
from training.data.archive import Source, find_sources
from training.data.piece import read_piece

ROOT = Path(__file__).parents[2]
MODEL, TODAY = ROOT / "layers" / "model", "2026-11-22T06:00:00Z"
EVENT = {"pieces": 3, "piece": 2, "trial": True, "style": "folk", "metre": "3/4", "tempo": 90,
         "duration_s": 60, "seed": 7, "top_p": 0.9, "prompt": "fresh", "date": TODAY}  # fmt: skip
RECORD, CATALOGUE = f"neural-net/{day(2)}_sequence.json", "site/catalogue.json"


@cache
def loaded() -> tuple[Composer, Bundle, Any]:
    bundle = Bundle.load(MODEL)
    return Composer(bundle), bundle, load_tokenizer(bundle)


def prompt_ids(midi: bytes) -> list[int]:
    return ids_of_prompt(midi, loaded()[2], loaded()[1])


def message() -> dict[str, Any]:
    job = json.loads((ROOT / "midi_save/events/save.json").read_text())["job"]
    prompt = {"source": "s3://b/prompts/x.mid", "ids": [13]}
    return {**job, "model_id": loaded()[1].model_id, "prompt": prompt}


def tokens() -> dict[str, Any]:
    ids = [loaded()[1].bos_id, loaded()[1].styles["folk"], *prompt_ids(midi_of(THEME))]
    return {"model_id": loaded()[1].model_id, "date": "2026-11-21", "ids": ids}


def begin_after(body: bytes) -> None:
    """Begins the piece of the day after one with these tokens."""
    s3, record_key = VersionedS3(), "neural-net/2026-11-21_sequence.json"
    saved(s3, "2026-11-21")
    record = json.loads(s3.objects[record_key][-1])
    del record["objects"], record["sha256"]  # as of an earlier version: whatever is there counts
    s3.objects |= {record_key: [as_json(record)], record["keys"]["tokens"]: [body]}
    composer, bundle, _ = loaded()
    job = read_job({"request": {}, "execution": {"name": "x", "started": TODAY}}, bundle)
    before_first_call(job, composer, lambda: TokenStore("music", bundle, s3))


@cache
def three_days() -> dict[str, list[bytes]]:
    """The objects of three published days."""
    s3 = VersionedS3()
    for number in (1, 2, 3):
        saved(s3, day(number))
    published(s3)
    return s3.objects


def file_of(key: str) -> Any:
    return json.loads(three_days()[key][-1])


def publish_over(key: str, body: bytes) -> None:
    """Publishes a new day over a damaged file; making the damaged day again mends all."""
    s3 = VersionedS3({name: [*versions] for name, versions in three_days().items()})
    s3.objects[key].append(body)
    for number in (4, 2):
        saved(s3, day(number))
        done = published(s3, day(number))
        assert day(number) in s3.objects["site/index.html"][-1].decode()
    assert not done.not_published


def in_folder(read: Callable[[Path], object], files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, body in files.items():
            (Path(folder) / name).write_bytes(body)
        read(Path(folder))


def compose_with(manifest: Any, graph: bytes = b"") -> None:
    """Loads the released bundle with another manifest or graph, whose hashes are right."""

    def read(folder: Path) -> None:
        fields = manifest if isinstance(manifest, dict) else {}
        write_manifest(folder, {**fields, "model_id": model_id_of(folder)})
        Composer(Bundle.load(folder))

    released = {path.name: path.read_bytes() for path in MODEL.iterdir()}
    in_folder(read, released | ({"model.onnx": graph} if graph else {}))


NAMES = "date days duration-s seed tempo prompt top-p form bundle name schedule timezone memory"
VALUES = """7 60 1.5 0 -1 nan -inf 1e999 99999999999 2024-02-29 2026-02-30 9999-12-31 fresh s3://b/x.mid
    AABA /nowhere /dev/null cron(0~6~*~*~?~*) cron(0~0~31~2~?~*) rate(0~days) Europe/Berlin x"""
OPTIONS = st.lists(
    st.tuples(
        st.sampled_from([f"--{name}" for name in NAMES.split()]),
        st.sampled_from([value.replace("~", " ") for value in VALUES.split()])
        | st.text(max_size=8),
    ).map("=".join),
    max_size=3,
)
PUBLISH = {"date": TODAY[:10], "piece": 3, "trial": False, "rebuild": True, "event": {}, "calls": 1}
ROWS = b"file,style,group,tempo_given,out_of_range\na.mid,folk,g,yes,0.01\n"
CHUNK = 2000  # cases after which hypothesis forgets what it drew, which takes memory
ONLY_DRAWN = settings(database=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck])
REFUSED = (EventError, TokensError, ModelMismatchError)
bombs_by_name = cache(lambda: dict(bombs()))

# fmt: off
# name: share of all cases, the cases, the errors that may be raised, what takes a case in
BORDERS: dict[str, tuple[float, Any, tuple[type[BaseException], ...], Callable[[Any], object]]] = {
    "event": (0.25, damaged_json(lambda: EVENT), REFUSED,
        lambda event: parse_request(event, loaded()[1], TODAY)),
    "message": (0.23, damaged_json(message), REFUSED, lambda job: read_job(job, loaded()[1])),
    "message to publish": (0.1, damaged_json(lambda: PUBLISH), REFUSED, Wanted.read),
    "yesterday's tokens": (0.1, damaged_file(tokens), (), begin_after),
    "record": (0.01, damaged_file(lambda: file_of(RECORD)), (), lambda b: publish_over(RECORD, b)),
    "catalogue": (0.01, damaged_file(lambda: file_of(CATALOGUE)), (),
        lambda body: publish_over(CATALOGUE, body)),
    "prompt": (0.1, damaged_bytes(lambda: midi_of(THEME)), (PromptError,), prompt_ids),
    "MIDI bomb": (0.001, st.deferred(lambda: st.sampled_from(sorted(bombs_by_name()))),
        (PromptError,), lambda name: prompt_ids(bombs_by_name()[name])),
    "training file": (0.05, damaged_bytes(lambda: midi_of(THEME)), (),
        lambda b: in_folder(lambda at: read_piece(Source(at / "a.mid", "folk")), {"a.mid": b})),
    "manifest.csv": (0.05, damaged_bytes(lambda: ROWS), (ValueError,),
        lambda rows: in_folder(find_sources, {"manifest.csv": rows, "a.mid": b""})),
    "bundle.json": (0.003, damaged_json(lambda: read_manifest(MODEL)),
        (BundleError,), compose_with),
    "model.onnx": (0.0005, damaged_bytes((MODEL / "model.onnx").read_bytes),
        (BundleError,), lambda b: compose_with(read_manifest(MODEL), b)),
    "options of run.sh": (0.05, OPTIONS, (SystemExit, ValueError),
        lambda words: check(parse_arguments(words), ROOT, date(2026, 11, 27))),
    "options of deploy.sh": (0.05, OPTIONS, (SystemExit, DeployError),
        lambda words: parse(words, ROOT)),
}
# fmt: on


def draw(cases: Any, count: int, number: int, take: Callable[[Any], object]) -> None:
    """Gives so many cases to `take`."""

    @seed(number)
    @settings(ONLY_DRAWN, max_examples=count)
    @given(cases)
    def one(case: Any) -> None:
        take(case)

    one()


def fuzz(name: str, count: int) -> dict[str, Any]:
    """Takes so many cases in at a border."""
    _, cases, refusals, read = BORDERS[name]
    raised, unnamed, times = Counter[str](), list[str](), [0.0]
    loaded(), three_days()
    # What is made once is no case's, as in a new clone hypothesis's tables of Unicode.
    draw(cases, 1, 0, lambda _: None)
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak of memory counts anew

    def take(case: Any) -> None:
        began = time.process_time()
        try:
            read(case)
            raised["taken"] += 1
        except BaseException as error:  # noqa: BLE001 - which it is, is what is asked
            raised[type(error).__name__] += 1
            if not isinstance(error, refusals):
                unnamed.append(f"{name}: {error!r}"[:200] + f" of {case!r}"[:300])
        times.append(time.process_time() - began)

    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        for begun in range(0, count, CHUNK):
            draw(cases, min(CHUNK, count - begun), begun, take)
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    worst = {"slowest_s": round(max(times), 2), "peak_mb": peak_mb}
    return {"cases": raised.total(), **worst, "raised": dict(raised), "unnamed": unnamed[:5]}


def borders_part(count: int, *, long: bool) -> dict[str, dict[str, Any]]:
    """Every border, told as it is done; if it is `long`, each in a process of its own."""
    shares = {name: max(5, round(border[0] * count)) for name, border in BORDERS.items()}
    spawn, found = multiprocessing.get_context("spawn"), {}
    with ProcessPoolExecutor(1 + long, spawn, max_tasks_per_child=1 if long else None) as pool:
        for name, result in zip(shares, pool.map(fuzz, shares, shares.values()), strict=True):
            found[name] = result
            print(f"{name:28}", *(f"{what} {value}," for what, value in result.items()), flush=True)
    return found
