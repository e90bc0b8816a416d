#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lint, types, shell, state machine, tests.
# For one part: ./test.sh music, or another folder below tests/. Other arguments go to pytest:
# ./test.sh -k sampling
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" || exit 1
SECONDS=0

# The tests must not use the caller's AWS: they speak to 127.0.0.1 only.
for variable in "${!AWS_@}"; do unset "$variable"; done
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_DEFAULT_REGION=us-east-1
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true

# PyTorch's own index has builds without CUDA, which are two gigabytes smaller. If it cannot be
# reached, the default index is used.
torch_cpu=https://download.pytorch.org/whl/cpu
if curl --silent --fail --max-time 3 --output /dev/null "$torch_cpu/torch/" 2>/dev/null; then
  export PIP_EXTRA_INDEX_URL="$torch_cpu ${PIP_EXTRA_INDEX_URL:-}"
fi

source ./venv.sh
ensure_venv requirements.txt || exit 1
# deploy.sh and run.sh, which tests start, find theirs in place.
ensure_venv deploy/requirements.lock && ensure_venv local_run/requirements.lock || exit 1

# The site is looked at in Debian's chromium. Where it can be installed, it is.
if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null; then
  if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    printf 'installing chromium, for the tests of the site\n' >&2
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } >/dev/null 2>&1 || true
  fi
  command -v chromium >/dev/null ||
    printf 'chromium is missing, so the tests of the site in a browser are skipped: apt-get install chromium\n' >&2
fi

failed=()
check() { # name command...
  local name=$1
  shift
  printf '\n== %s (%d s)\n' "$name" "$SECONDS"
  "$@" || failed+=("$name")
}

# Never the commands that pip wrote: their first line is a path, which may hold a space or be long.
check 'ruff check' "$PYTHON" -m ruff check .
check 'ruff format' "$PYTHON" -m ruff format --check .
check 'mypy' "$PYTHON" -m mypy
check 'shellcheck' .venv/bin/shellcheck -x ./*.sh .ci/run # a program, no script
check 'statelint' "$PYTHON" -m statelint statemachine.asl.json
# What the tests deploy is built before they run, because the tests themselves use no network.
check 'layers' "$PYTHON" -m deploy.layers
check 'functions'"'"' runtime' "$PYTHON" -c 'from pathlib import Path
from local_aws.runtime import ensure_runtime
ensure_runtime(Path(".cache"))'
[[ $# -eq 0 || ! -d tests/$1 ]] || set -- "tests/$1" "${@:2}"
check 'pytest' "$PYTHON" -m pytest -n 2 "$@"

printf '\n'
if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'FAILED: %s (%d s)\n' "${failed[*]}" "$SECONDS"
  exit 1
fi
printf 'all passed (%d s)\n' "$SECONDS"
