"""What a cold start of the two functions costs in CPU seconds, and which part of it costs what.

Each measurement is a new process that sees what a function's instance sees: AWS's runtime client,
the layer that deploy/layers.py makes (built first when it is not there), the code as source,
the bundle. The processes take turns, because a machine's speed drifts. S3 is moto in this process,
whose time is not counted, over plain HTTP: on AWS, TLS adds about 20 ms to the first call. What
Lambda does before Python starts (fetching the layers, starting the machine) is not measured.

    python -m benchmarks.cold_start [--repeats 7] [--against COMMIT]

With --against the functions of another commit, of 2026-11-27 or later, are measured too, in the
same turns. In the printed lines, init is Lambda's init phase, from the start of Python to the
loaded handler; cold is what a cold start takes more than a warm one, init included; bare is Python,
the runtime client and numpy.
"""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from local_aws.packages import unpack
from local_aws.runtime import ensure_runtime
from training import options
from training.options import Parser

ROOT = Path(__file__).resolve().parent.parent
BUCKET = "cold-start"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
ARCHITECTURE = {"aarch64": "arm64", "amd64": "x86_64"}.get(platform.machine(), platform.machine())
FUNCTIONS = ("generate_tokens", "midi_save")
PACKAGES = ("contract", "music", *FUNCTIONS)
EVENT = {  # a short piece; both calls do the same work
    "request": {"date": "2026-11-22", "seed": 1, "duration_s": 5},
    "execution": {"name": "cold-start", "started": "2026-11-22T06:00:01Z"},
}

# Runs the statements in its arguments, (name, statement) in turn, and prints the time of each.
CHILD = """
import sys, time
scope, seconds, before = {}, {}, 0.0
for name, statement in zip(sys.argv[1::2], sys.argv[2::2]):
    exec(statement, scope)
    now = time.process_time()
    seconds[name], before = now - before, now
import json
print("\\n" + json.dumps({"seconds": seconds, "answer": scope.get("answer")}))
"""
START = {"start": "import awslambdaric.bootstrap"}
BARE = START | {"numpy": "import numpy"}
IMPORTS = "import {function}.handler as handler"
# The parts of init and first call. Importing the handler alone loads none of them, see `stages`.
STAGES = {
    "generate_tokens": {
        "bundle": "import os; bundle = handler.Bundle.load(os.environ['MODEL_DIR'])",
        "session": "handler.Composer(bundle)",
        "s3_client": "import boto3; boto3.client('s3')",
    },
    "midi_save": {
        "bundle": "import os; bundle = handler.Bundle.load(os.environ['MODEL_DIR'])",
        "tokenizer": "handler.load_tokenizer(bundle)",
        "s3_client": "import boto3; boto3.client('s3')",
    },
}
CONTEXT = "type('Context', (), {'get_remaining_time_in_millis': lambda self: 100_000})()"
CALLS = {
    "event": "import json, sys; event = json.load(sys.stdin); context = " + CONTEXT,
    "first_call": "answer = handler.handler(event, context)",
    "second_call": "answer = handler.handler(event, context)",
}


def lay_out(function: str, place: Path, root: Path = ROOT) -> Path:
    """The function of the clone ``root`` as it is deployed: place/task and place/opt, filled.

    Raises CalledProcessError if its layer cannot be built: deploy/layers.py has said why.
    """
    layer = root / "build" / f"{function}-{PYTHON}-{ARCHITECTURE}.zip"
    build = [sys.executable, "-m", "deploy.layers", function]
    subprocess.run(build, cwd=root, stdout=sys.stderr, check=True)
    unpack(layer.read_bytes(), place / "opt", lambda line: print(line, file=sys.stderr))
    shutil.copytree(root / "layers" / "model", place / "opt" / "model")
    for package in ("contract", "music", function):
        copied = place / "task" / package
        shutil.copytree(root / package, copied, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def environment(place: Path, runtime: Path) -> dict[str, str]:
    """The variables of a function's instance, its paths being those of ``place``."""
    python_path = [place / "task", place / "opt" / "python", runtime]
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(map(str, python_path)),
        "PYTHONDONTWRITEBYTECODE": "1",  # nothing can be written beside the code on Lambda
        "MODEL_DIR": str(place / "opt" / "model"),
        "MUSIC_BUCKET": BUCKET,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Instance:
    """One function of one clone, started anew by each method."""

    def __init__(self, function: str, place: Path, runtime: Path, endpoint: str) -> None:
        self.function = function
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.import_ms: defaultdict[str, list[float]] = defaultdict(list)
        self._imports = {"imports": IMPORTS.format(function=function)}
        self._place = place
        self._env = environment(place, runtime) | {"AWS_ENDPOINT_URL": endpoint}

    def _python(
        self, arguments: list[str], text: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-s", "-S", *arguments],
            cwd=self._place / "task",
            env={**self._env, **env},
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    def _run(self, steps: Mapping[str, str], event: Any = None, **env: str) -> dict[str, Any]:
        pairs = [text for step in steps.items() for text in step]
        done = self._python(["-c", CHILD, *pairs], json.dumps(event), **env)
        if done.returncode != 0:
            raise RuntimeError(f"{self.function} did not start:\n{done.stderr[-3000:]}")
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def invoke(self, event: Any) -> Any:
        """Measure a cold start and two calls; returns the answer of the second call."""
        steps = START | self._imports | CALLS
        # With this variable the handler does in its init phase what it does there on Lambda.
        result = self._run(steps, event, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1")
        took = result["seconds"]
        took["init"] = took["start"] + took["imports"]
        took["cold"] = took["init"] + took["first_call"] - took["second_call"]
        for name in ("init", "first_call", "second_call", "cold"):
            self.seconds[name].append(took[name])
        return result["answer"]

    def stages(self) -> None:
        """Measure the same by its parts; without the variable, importing only imports."""
        result = self._run(START | self._imports | STAGES[self.function])
        for name, took in result["seconds"].items():
            self.seconds[name].append(took)

    def bare(self) -> None:
        """Measure what every function in Python with numpy needs."""
        self.seconds["bare"].append(sum(self._run(BARE)["seconds"].values()))

    def packages(self) -> None:
        """Measure the imports in wall milliseconds by package, each without what it imports."""
        done = self._python(["-X", "importtime", "-c", self._imports["imports"]])
        found: defaultdict[str, float] = defaultdict(float)
        for line in done.stderr.splitlines():
            own, _, rest = line.removeprefix("import time:").partition("|")
            if own.strip().isdigit():
                name = rest.rpartition("|")[2].strip().partition(".")[0]
                name = "standard library" if name in sys.stdlib_module_names else name
                found["this project" if name in PACKAGES else name] += int(own) / 1000
        for name, took_ms in found.items():
            self.import_ms[name].append(took_ms)

    def facts(self) -> dict[str, Any]:
        """Medians, and the least init time, which other load on the machine affects least."""
        facts = {f"{name}_cpu_s": median(took) for name, took in self.seconds.items()}
        facts["init_least_cpu_s"] = min(self.seconds["init"])
        facts["init_over_bare"] = facts["init_cpu_s"] / facts["bare_cpu_s"]
        packages = {name: round(median(ms), 1) for name, ms in self.import_ms.items()}
        by_cost = sorted(packages.items(), key=lambda item: -item[1])
        return {
            **{name: round(value, 3) for name, value in facts.items()},
            "import_ms": {name: took_ms for name, took_ms in by_cost if took_ms >= 1},
        }


@contextmanager
def s3() -> Iterator[str]:
    """The endpoint of an S3 that has the bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line per request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",  # noqa: S106 - moto takes any
        ).create_bucket(Bucket=BUCKET)
        yield endpoint
    finally:
        server.stop()


def checked_out(commit: str, place: Path) -> Path:
    """The files of ``commit`` of this repository, in ``place``.

    Commits from before contract/ and music/ cannot be laid out: git names what they lack.
    """
    command = ["git", "archive", "--format=zip", commit, *PACKAGES, "layers", "deploy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"--against {commit}: {done.stderr.decode().strip()}")
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        archive.extractall(place)
    return place


def main() -> None:
    parser = Parser("benchmarks.cold_start", (__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--repeats", type=options.whole(1), default=7, help="cold starts of each kind"
    )
    parser.add_argument("--against", metavar="COMMIT", help="measure its functions beside")
    a = parser.parse_args()
    runtime = ensure_runtime(ROOT / ".cache")
    with tempfile.TemporaryDirectory() as name, s3() as endpoint:
        scratch = Path(name)
        clones = {"": ROOT}
        if a.against:
            clones[f" of {a.against}"] = checked_out(a.against, scratch / "against")
        chains = [
            [
                Instance(f, lay_out(f, scratch / f"{f}{of}", root), runtime, endpoint)
                for f in FUNCTIONS
            ]
            for of, root in clones.items()
        ]
        for turn in tqdm(range(a.repeats + 1), desc="cold starts", disable=None):
            for generate_tokens, midi_save in chains:
                job = generate_tokens.invoke(EVENT)
                midi_save.invoke({"task": "save", "job": job})
                for instance in (generate_tokens, midi_save):
                    instance.stages()
                    instance.bare()
                    instance.packages()
                    if turn == 0:  # not counted: files are read from the disk
                        instance.seconds.clear()
                        instance.import_ms.clear()
    facts = {
        f"{instance.function}{of}": instance.facts()
        for of, chain in zip(clones, chains, strict=True)
        for instance in chain
    }
    print_table(facts)
    ratios = {
        f"{new.function} {name}": round(min(new.seconds[name]) / min(old.seconds[name]), 2)
        for others in chains[1:]
        for new, old in zip(chains[0], others, strict=True)
        for name in ("init", "imports", "first_call", "cold")
    }
    for name, ratio in ratios.items():
        print(f"{name} over that of {a.against}: {ratio} (of the least)")
    print(json.dumps({"python": PYTHON, "repeats": a.repeats, **facts, "ratios": ratios}))


def print_table(facts: Mapping[str, Mapping[str, Any]]) -> None:
    """A line per figure; the wall milliseconds of imports below the CPU seconds."""
    for function, values in facts.items():
        print(function)
        for name, value in values.items():
            if name != "import_ms":
                print(f"  {name:24}{value:>8.3f}")
        for package, took_ms in values["import_ms"].items():
            print(f"  import_ms {package:20}{took_ms:>6.1f}")


if __name__ == "__main__":
    main()
