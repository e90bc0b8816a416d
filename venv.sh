# shellcheck shell=bash
# The virtual environment that run.sh, deploy.sh and test.sh share. Sourced by them, from the
# repository's root.

# Prints the first Python of at least 3.11 that really starts. Each one is tried, because a version
# manager leaves commands on PATH that only say "not installed".
find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
  printf 'Python 3.11 or later is needed and none was found: install it, or set PYTHON to its path\n' >&2
  return 1
}

# The caller's own settings of Python and pip must not interfere: where packages come from is kept,
# where and what to install is not. (Without bytecode, as PYTHONDONTWRITEBYTECODE asks for, each
# start of boto3 or moto would cost seconds.)
forget_python_settings() {
  local variable
  for variable in "${!PYTHON@}" "${!PIP_@}"; do
    case $variable in
      PYTHON | PIP_*INDEX* | PIP_FIND_LINKS | PIP_*CERT | PIP_PROXY | PIP_TRUSTED_HOST) ;;
      PIP_*CACHE* | PIP_*TIMEOUT | PIP_RETRIES | PIP_CONFIG_FILE | PIP_KEYRING_PROVIDER) ;;
      *) unset "$variable" ;;
    esac
  done
  export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0 PIP_REQUIRE_HASHES=0
}

# Makes .venv when it is missing, broken, or was moved (its commands hold absolute paths), and
# installs the requirements file when it or what it includes has changed since the last time.
ensure_venv() { # requirements-file
  local python stamp digest said
  if [[ $PWD == *:* ]]; then
    printf 'Python makes no virtual environment in %s: rename the folder with the colon\n' "$PWD" >&2
    return 1
  fi
  forget_python_settings
  if command -v flock >/dev/null; then
    exec 9>.venv.lock
    flock 9 # of two at once the second waits for the first
  fi
  stamp=.venv/installed-${1//\//-}
  if [[ $(cat .venv/location 2>/dev/null) != "$PWD" ]] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    python=$(find_python) || return 1
    printf 'making .venv with %s\n' "$("$python" --version)" >&2
    said=$("$python" -m venv --clear .venv 2>&1) || {
      printf '%s\n%s cannot make virtual environments: install its venv module (Debian and Ubuntu: apt install python3-venv)\n' "$said" "$python" >&2
      return 1
    }
    printf '%s\n' "$PWD" >.venv/location
  fi
  digest=$(cat ./requirements.txt ./*/requirements.txt ./*/requirements.lock | cksum)
  if [[ $(cat "$stamp" 2>/dev/null) != "$digest" ]]; then
    printf 'installing %s into .venv\n' "$1" >&2
    # Nothing is compiled here: Python compiles a file at its first import, and most are never imported.
    .venv/bin/python -m pip install -qq --no-compile --requirement "$1" || {
      printf 'pip could not install %s: see the lines above. Is a package index reachable?\n' "$1" >&2
      return 1
    }
    printf '%s\n' "$digest" >"$stamp"
  fi
  exec 9>&- # gives the lock back
  export PATH=$PWD/.venv/bin:$PATH PYTHON=$PWD/.venv/bin/python
}
