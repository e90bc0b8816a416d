#!/usr/bin/env bash
# Creates or updates everything that the composer needs in one AWS account and region. Run it again
# at any time: it compares before it writes, prints one line per change, and ends with `changes: N`.
#
# Works with AWS CLI 1 and 2, bash 3.2 and later, and any endpoint in AWS_ENDPOINT_URL.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: ./deploy.sh [options]

  --name NAME          prefix of every name in AWS                   (midi-archive)
  --region REGION      AWS region        (AWS_REGION, AWS_DEFAULT_REGION, AWS CLI's configuration)
  --profile PROFILE    AWS CLI profile                               (AWS_PROFILE, or none)
  --schedule EXPR      when a piece is made: cron(...), rate(...), at(...)   (cron(0 6 * * ? *))
  --timezone ZONE      time zone of the schedule                     (UTC)
  --runtime RUNTIME    python3.12, python3.13 or python3.14          (python3.13)
  --arch ARCH          x86_64 or arm64                               (x86_64)
  --bundle DIR         the trained model                             (layers/model)
  --outputs FILE       also write the deployed names to FILE, as JSON
  --help
HELP
}

name=midi-archive region='' schedule='cron(0 6 * * ? *)' timezone=UTC
runtime=python3.13 arch=x86_64 bundle='' outputs=''
functions=(generate-tokens midi-save)

say() { printf '%s\n' "$*"; }
die() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 1
}

while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) usage && exit ;;
    --name | --region | --profile | --schedule | --timezone | --runtime | --arch | --bundle | --outputs)
      [[ $# -ge 2 && -n $2 ]] || die "$1 needs a value: see ./deploy.sh --help"
      case $1 in
        --name) name=$2 ;;
        --region) region=$2 ;;
        --profile) export AWS_PROFILE=$2 ;;
        --schedule) schedule=$2 ;;
        --timezone) timezone=$2 ;;
        --runtime) runtime=$2 ;;
        --arch) arch=$2 ;;
        --bundle) bundle=$(cd "$2" 2>/dev/null && pwd) || die "--bundle: there is no folder $2" ;;
        --outputs) case $2 in /*) outputs=$2 ;; *) outputs=$PWD/$2 ;; esac ;;
      esac
      shift 2
      ;;
    *) die "unknown option $1: see ./deploy.sh --help" ;;
  esac
done
cd "$(dirname "${BASH_SOURCE[0]}")"
: "${bundle:=layers/model}"
export PYTHON=${PYTHON:-python3}
export AWS_PAGER='' AWS_CLI_AUTO_PROMPT=off AWS_DEFAULT_OUTPUT=json

# AWS CLI 1 ignores AWS_ENDPOINT_URL for SQS.
aws() { command aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

# ---- what can be refused before any call ---------------------------------------------------------

type -P aws >/dev/null || die "the AWS CLI is missing: see https://aws.amazon.com/cli/, or 'pip install awscli'"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  die "Python 3.11 or later is needed to pack the layers: install it, or set PYTHON to its path"

# The pins have wheels for 3.11 to 3.14 only, and they need glibc 2.28, while Lambda's python3.11 is on
# Amazon Linux 2 with 2.26. An embedded AWS runs functions with the machine's own Python and glibc.
case $runtime in
  python3.12 | python3.13 | python3.14) ;;
  python3.11)
    [[ -n ${AWS_ENDPOINT_URL:-} ]] || die "--runtime python3.11 cannot run on Lambda: its glibc 2.26 is older than" \
      "the 2.28 that the layers' packages need. Use python3.12, python3.13 or python3.14 (3.11 is for a local AWS, in AWS_ENDPOINT_URL)"
    ;;
  *) die "--runtime must be python3.12, python3.13 or python3.14, since the layers' packages have no others, not '$runtime'" ;;
esac
[[ $arch == x86_64 || $arch == arm64 ]] || die "--arch must be x86_64 or arm64, not '$arch'"
# The scheduler would refuse these only after everything else was made.
"$PYTHON" -c 'import sys
from local_aws.cron import ScheduleExpressionError, check_expression, check_timezone
for option, check, value in (("--schedule", check_expression, sys.argv[1]), ("--timezone", check_timezone, sys.argv[2])):
    try:
        check(value)
    except ScheduleExpressionError as error:
        sys.exit(f"deploy.sh: {option}: {error}")' "$schedule" "$timezone"

: "${region:=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}}"
[[ -n $region ]] || die "no region: give --region, or set AWS_REGION"
[[ $region =~ ^[a-z]{2}(-[a-z]+)+-[0-9]+$ ]] || die "--region must look like eu-central-1, not '$region'"
export AWS_REGION=$region AWS_DEFAULT_REGION=$region

[[ $name =~ ^[a-z][a-z0-9]*(-[a-z0-9]+)*$ ]] ||
  die "--name must be lower-case letters, digits and single hyphens, beginning with a letter, not '$name'"
name_limit=$((63 - ${#region} - 24)) # a bucket's name less '-artifacts-', account, '-' and region
((${#name} <= name_limit)) || die "--name may have $name_limit characters in $region (bucket names end at 63), '$name' has ${#name}"

"$PYTHON" -c 'import sys
from generate_tokens.bundle import Bundle
from generate_tokens.errors import BundleError
try:
    Bundle.load(sys.argv[1])
except BundleError as error:
    sys.exit(f"deploy.sh: {error}")' "$bundle"

# ---- comparing and counting ----------------------------------------------------------------------

work=$(mktemp -d)
pids=()
# shellcheck disable=SC2317  # called by the trap
clean_up() {
  kill ${pids[@]+"${pids[@]}"} 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
: >"$work/changes"

change() {
  say "$*"
  say "$*" >>"$work/changes"
}

# Waits for what was started in the background; its failure is ours.
join() {
  local pid failed=''
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  pids=()
  [[ -z $failed ]] || exit 1
}

# The answer to a read, or nothing when the error says that there is no such thing yet.
describe() { # regular-expression-of-the-error aws-arguments...
  local absent=$1 errors
  shift
  errors=$(mktemp "$work/errors.XXXXXX")
  aws "$@" 2>"$errors" || {
    grep -qE "$absent" "$errors" || {
      cat "$errors" >&2
      exit 1
    }
  }
}

# A write whose role may be so new that the service does not know it yet: for a minute, tried again.
# Prints the answer.
aws_with_new_role() {
  local attempt errors
  errors=$(mktemp "$work/errors.XXXXXX")
  for ((attempt = 1; ; attempt++)); do
    aws "$@" 2>"$errors" && return
    if ((attempt == 20)) || ! grep -qE 'cannot be assumed|to assume the (provided )?role|valid principal' "$errors"; then
      cat "$errors" >&2
      exit 1
    fi
    sleep 3
  done
}

# S3 gives a bucket policy as JSON inside a JSON string; the other services as plain JSON.
same_json() {
  [[ -n $2 ]] || return 1
  [[ $1 == "$2" ]] || "$PYTHON" -c 'import json, sys
want, have = map(json.loads, sys.argv[1:])
if isinstance(have, str) and isinstance(want, dict):
    have = json.loads(have)
sys.exit(want != have)' "$1" "$2"
}

# One setting: read, and written when what is there differs from what is wanted. With nothing to read
# (the thing was just made) it is written.
ensure_setting() { # description wanted-json error-when-absent read-arguments... -- write-arguments...
  local what=$1 want=$2 absent=$3 read=() have=''
  shift 3
  while [[ $1 != -- ]]; do
    read+=("$1")
    shift
  done
  shift
  [[ ${#read[@]} -eq 0 ]] || have=$(describe "$absent" "${read[@]}")
  same_json "$want" "$have" && return
  aws "$@" >/dev/null
  change "$what"
}

source deploy/ensure.sh

# ---- build ---------------------------------------------------------------------------------------

say "deploying $name to ${AWS_ENDPOINT_URL:-AWS}, $region"
mkdir -p build
for folder in generate_tokens midi_save; do
  layers/build.sh "$folder" "$runtime" "$arch" "build/$folder-$runtime-$arch.zip" &
  pids+=($!)
done
join
pack() { "$PYTHON" layers/pack.py "$@"; }
fact() { "$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }

pack "$work/model.zip" "model/model.onnx=$bundle/model.onnx" "model/tokenizer.json=$bundle/tokenizer.json" \
  "model/bundle.json=$bundle/bundle.json" "model/MODEL_CARD.md=$bundle/MODEL_CARD.md" >"$work/model.zip.json"
# Not compressed: these few kilobytes must be the same bytes with every zlib, or code would be sent anew.
pack "$work/generate-tokens.zip" --stored --suffix .py generate_tokens=generate_tokens >"$work/generate-tokens.zip.json"
shared=()
for module in __init__ border bundle errors request storage; do
  shared+=("generate_tokens/$module.py=generate_tokens/$module.py")
done
pack "$work/midi-save.zip" --stored --suffix .py midi_save=midi_save "${shared[@]}" >"$work/midi-save.zip.json"
refuse_if_too_large generate-tokens dependencies="build/generate_tokens-$runtime-$arch.zip" model="$work/model.zip" code="$work/generate-tokens.zip"
refuse_if_too_large midi-save dependencies="build/midi_save-$runtime-$arch.zip" model="$work/model.zip" code="$work/midi-save.zip"

# ---- ensure --------------------------------------------------------------------------------------

caller=$(aws sts get-caller-identity --query '[Account,Arn]' --output text) ||
  die "AWS does not know these credentials: run 'aws configure', or see --profile"
account=${caller%%[[:space:]]*}
partition=${caller#*arn:} partition=${partition%%:*} # aws, aws-cn or aws-us-gov
music_bucket=$name-music-$account-$region
artifacts_bucket=$name-artifacts-$account-$region
lambda_arn=arn:$partition:lambda:$region:$account:function:$name
state_machine_arn=arn:$partition:states:$region:$account:stateMachine:$name
queue_arn=arn:$partition:sqs:$region:$account:$name-dead-letters

ensure_bucket "$music_bucket" versioned "$(music_lifecycle)" & pids+=($!)
ensure_bucket "$artifacts_bucket" '' "$(artifacts_lifecycle)" & pids+=($!)
ensure_role "$name-generate-tokens" lambda "$(generate_tokens_policy)" & pids+=($!)
ensure_role "$name-midi-save" lambda "$(midi_save_policy)" & pids+=($!)
ensure_role "$name-statemachine" states "$(statemachine_policy)" & pids+=($!)
ensure_role "$name-schedule" scheduler "$(schedule_policy)" & pids+=($!)
ensure_log_groups & pids+=($!)
ensure_queue "$name-dead-letters" & pids+=($!)
join

ensure_layer generate-deps "build/generate_tokens-$runtime-$arch.zip" & pids+=($!)
ensure_layer save-deps "build/midi_save-$runtime-$arch.zip" & pids+=($!)
ensure_layer model "$work/model.zip" & pids+=($!)
join

# 1769 MB is one whole vCPU; with less memory all of it, cold starts too, takes as much longer.
ensure_function generate-tokens generate_tokens 1769 120 generate-deps model & pids+=($!)
ensure_function midi-save midi_save 1769 60 save-deps model & pids+=($!)
join
ensure_state_machine
ensure_schedule "$name-daily"

# ---- summary -------------------------------------------------------------------------------------

cat >"$work/outputs.json" <<JSON
{
  "account": "$account",
  "region": "$region",
  "name": "$name",
  "music_bucket": "$music_bucket",
  "state_machine_arn": "$state_machine_arn",
  "schedule": "$name-daily",
  "functions": ["$name-generate-tokens", "$name-midi-save"]
}
JSON
[[ -z $outputs ]] || cp "$work/outputs.json" "$outputs"
say
say "pieces         s3://$music_bucket/neural-net/"
say "state machine  $state_machine_arn"
for function in "${functions[@]}"; do say "function       $lambda_arn${function:+-}$function"; done
say "schedule       $name-daily, $schedule, $timezone"
say "console        https://$region.console.aws.amazon.com/states/home?region=$region#/statemachines/view/$state_machine_arn"
say "changes: $(wc -l <"$work/changes" | tr -d ' ')"
