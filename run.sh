#!/usr/bin/env bash
# Composes a piece of music on this machine through the real deployment: no AWS account, no Docker.
# See ./run.sh --help.
set -euo pipefail
trap 'exit 130' INT # pip ends with another status
export RUN_BEGUN INVOKED_FROM=$PWD # paths in the options are the caller's
RUN_BEGUN=$(date +%s)
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"

# The caller's own AWS settings must neither be used nor interfere.
for variable in "${!AWS_@}" "${!MOTO_@}"; do unset "$variable"; done
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null

source ./venv.sh
ensure_venv local_run/requirements.lock
exec "$PYTHON" -m local_run "$@"
