"""`python -m local_aws serve`: the local AWS until SIGTERM or Ctrl-C."""

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from local_aws.runtime import RuntimeBuildError, ensure_runtime

CACHE_DIR = Path(__file__).resolve().parents[1] / ".cache"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m local_aws", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="serve on 127.0.0.1",
        description="Prints one JSON line when ready: endpoint, region, account, and in env the "
        "environment variables for a client; then what the functions log, on standard error.",
    )
    serve.add_argument("--port", type=_port, default=0, help="default: a free one")
    serve.add_argument(
        "--cache-dir",
        type=Path,
        default=CACHE_DIR,
        help="where the functions' runtime is built and kept (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    # moto asks for the caller's AWS profile when it is loaded, and fails if that does not exist.
    os.environ.pop("AWS_PROFILE", None)
    from local_aws.server import LocalAws  # takes seconds to load, too long for --help

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        runtime_dir = ensure_runtime(options.cache_dir)
        with LocalAws(runtime_dir, log=_to_standard_error, port=options.port) as aws:
            ready = {name: getattr(aws, name) for name in ("endpoint", "region", "account", "env")}
            print(json.dumps(ready), flush=True)
            stop.wait()
    except (OSError, RuntimeBuildError) as error:  # a port in use, a folder that cannot be written
        parser.exit(1, f"{parser.prog}: {error}\n")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, got {text!r}")
    return int(text)


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
