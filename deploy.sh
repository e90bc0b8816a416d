#!/usr/bin/env bash
# Puts everything that the composer needs into an AWS account, and again after each retraining.
# See ./deploy.sh --help.
set -euo pipefail
trap 'exit 130' INT # pip ends with another status
export INVOKED_FROM=$PWD # paths in the options are the caller's
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"

source ./venv.sh
ensure_venv deploy/requirements.lock
exec "$PYTHON" -m deploy "$@"
