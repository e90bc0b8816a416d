#!/usr/bin/env bash
# Puts everything that the composer needs into an AWS account, and again after each retraining.
# See ./deploy.sh --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export INVOKED_FROM=$OLDPWD # paths in the options are the caller's

source venv.sh
ensure_venv deploy/requirements.lock
exec .venv/bin/python -m deploy "$@"
