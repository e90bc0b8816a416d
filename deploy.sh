#!/usr/bin/env bash
# Creates or updates everything that the composer needs in one AWS account and region. Run it again
# at any time: it compares before it writes, prints one line per change, and ends with `changes: N`.
# The parts are in deploy/. Works with AWS CLI 1 and 2, bash 3.2 and later, and any endpoint in
# AWS_ENDPOINT_URL.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: ./deploy.sh [options]

what to do
  (nothing)            create or update, then compose a trial piece
  --dry-run            only say what would be changed
  --rollback           put the functions back on the model before the present one
  --destroy            list everything, ask, and delete it; the music bucket stays
  --delete-music       with --destroy: the music bucket, too
  --no-smoke           without the trial piece at the end

where
  --name NAME          prefix of every name in AWS: an installation    (midi-archive)
  --region REGION      AWS region        (AWS_REGION, AWS_DEFAULT_REGION, AWS CLI's configuration)
  --profile PROFILE    AWS CLI profile                                 (AWS_PROFILE, or none)

how; what is not given stays as it is deployed, and in brackets is what it is at first
  --schedule EXPR      when a piece is made: cron(...), rate(...), at(...)   (cron(0 6 * * ? *))
  --timezone ZONE      time zone of the schedule, as in Europe/Berlin  (UTC)
  --memory MB          of each function, 512 to 10240; 1769 is one whole vCPU   (1769)
  --runtime RUNTIME    python3.12, python3.13 or python3.14            (python3.13)
  --arch ARCH          x86_64 or arm64                                 (x86_64)
  --alarm-email MAIL   also mail alarms to this address                (nobody)
  --bundle DIR         the trained model                               (layers/model)
  --outputs FILE       also write the deployed names to FILE, as JSON
  --help
HELP
}

cd_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
dry_run='' listing='' action=deploy no_smoke='' delete_music=''
name=midi-archive region='' schedule='' timezone='' memory_mb='' runtime='' arch='' alarm_email='' bundle='' outputs=''
functions=(generate-tokens midi-save)
layers=(generate-deps save-deps model)
roles=(generate-tokens midi-save statemachine schedule)
pids=()
source deploy/common.sh
source deploy/lock.sh
source deploy/storage.sh
source deploy/roles.sh
source deploy/functions.sh
source deploy/chain.sh
source deploy/operations.sh
source deploy/destroy.sh

from_caller() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$cd_from/$1" ;; esac; }

while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) usage && exit ;;
    --dry-run) dry_run=1 && shift ;;
    --no-smoke) no_smoke=1 && shift ;;
    --delete-music) delete_music=1 && shift ;;
    --rollback | --destroy)
      [[ $action == deploy || $action == "${1#--}" ]] || die "--rollback and --destroy do not go together"
      action=${1#--}
      shift
      ;;
    --name | --region | --profile | --schedule | --timezone | --memory | --runtime | --arch | --alarm-email | --bundle | --outputs)
      [[ $# -ge 2 && -n $2 ]] || die "$1 needs a value: see ./deploy.sh --help"
      case $1 in
        --name) name=$2 ;;
        --region) region=$2 ;;
        --profile) export AWS_PROFILE=$2 ;;
        --schedule) schedule=$2 ;;
        --timezone) timezone=$2 ;;
        --memory) memory_mb=$2 ;;
        --runtime) runtime=$2 ;;
        --arch) arch=$2 ;;
        --alarm-email) alarm_email=$2 ;;
        --bundle) bundle=$(cd "$cd_from" && cd "$2" 2>/dev/null && pwd) || die "--bundle: there is no folder $2" ;;
        --outputs) outputs=$(from_caller "$2") ;;
      esac
      shift 2
      ;;
    *) die "unknown option $1: see ./deploy.sh --help" ;;
  esac
done
: "${bundle:=layers/model}"
export PYTHON=${PYTHON:-python3}
export AWS_RETRY_MODE=${AWS_RETRY_MODE:-standard} AWS_MAX_ATTEMPTS=${AWS_MAX_ATTEMPTS:-8}
export AWS_PAGER='' AWS_CLI_AUTO_PROMPT=off AWS_DEFAULT_OUTPUT=json

# ---- checks before any call to AWS ---------------------------------------------------------------

[[ -z $delete_music || $action == destroy ]] || die "--delete-music goes with --destroy"
type -P aws >/dev/null || die "the AWS CLI is missing: see https://aws.amazon.com/cli/, or 'pip install awscli'"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  die "Python 3.11 or later is needed to pack the layers: install it, or set PYTHON to its path"

# The pins have wheels for 3.11 to 3.14 only, and they need glibc 2.28, while Lambda's python3.11 is on
# Amazon Linux 2 with 2.26. An embedded AWS runs functions with the machine's own Python and glibc.
case $runtime in
  '' | python3.12 | python3.13 | python3.14) ;;
  python3.11)
    [[ -n ${AWS_ENDPOINT_URL:-} ]] || die "--runtime python3.11 cannot run on Lambda: its glibc 2.26 is older than" \
      "the 2.28 that the layers' packages need. Use python3.12, python3.13 or python3.14 (3.11 is for a local AWS, in AWS_ENDPOINT_URL)"
    ;;
  *) die "--runtime must be python3.12, python3.13 or python3.14, since the layers' packages have no others, not '$runtime'" ;;
esac
[[ -z $arch || $arch == x86_64 || $arch == arm64 ]] || die "--arch must be x86_64 or arm64, not '$arch'"
[[ -z $memory_mb ]] || { [[ $memory_mb =~ ^[1-9][0-9]{2,4}$ ]] && ((memory_mb >= 512 && memory_mb <= 10240)); } ||
  die "--memory must be a number of MB from 512 to 10240, not '$memory_mb'"
[[ -z $alarm_email || $alarm_email =~ ^[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$ ]] ||
  die "--alarm-email must look like me@example.org, not '$alarm_email'"
# The scheduler itself would refuse these only after everything else has been made.
"$PYTHON" -c 'import sys
from deploy.schedule_expression import ScheduleExpressionError, check_expression, check_timezone
for option, check, value in (("--schedule", check_expression, sys.argv[1]), ("--timezone", check_timezone, sys.argv[2])):
    try:
        check(value)
    except ScheduleExpressionError as error:
        sys.exit(f"deploy.sh: {option}: {error}")' "${schedule:-rate(1 day)}" "${timezone:-UTC}"

: "${region:=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}}"
[[ -n $region ]] || die "no region: give --region, or set AWS_REGION"
[[ $region =~ ^[a-z]{2}(-[a-z]+)+-[0-9]+$ ]] || die "--region must look like eu-central-1, not '$region'"
export AWS_REGION=$region AWS_DEFAULT_REGION=$region

[[ $name =~ ^[a-z][a-z0-9]*(-[a-z0-9]+)*$ ]] ||
  die "--name must be lower-case letters, digits and single hyphens, beginning with a letter, not '$name'"
name_limit=$((63 - ${#region} - 24)) # a bucket's name less '-artifacts-', account, '-' and region
((${#name} <= name_limit)) || die "--name may have $name_limit characters in $region (bucket names end at 63), '$name' has ${#name}"

[[ $action != deploy ]] || "$PYTHON" -c 'import sys
from contract.bundle import Bundle
from contract.errors import BundleError
try:
    Bundle.load(sys.argv[1])
except BundleError as error:
    sys.exit(f"deploy.sh: {error}")' "$bundle"

# ---- the account, and what is deployed in it -----------------------------------------------------

work=$(mktemp -d) || die "there is no room for temporary files: free some on the disk of ${TMPDIR:-/tmp}"
# shellcheck disable=SC2317  # called by the trap
clean_up() {
  kill ${pids[@]+"${pids[@]}"} 2>/dev/null || true
  give_lock_back
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
: >"$work/changes"

caller=$(describe NoSuchThing sts get-caller-identity --query '[Account,Arn]' --output text)
account=${caller%%[[:space:]]*} caller_arn=${caller#*[[:space:]]}
partition=${caller_arn#arn:} partition=${partition%%:*}
[[ $partition == aws ]] || die "this has been made for the partition aws, not for $partition: statemachine.asl.json names it"
music_bucket=$name-music-$account-$region
artifacts_bucket=$name-artifacts-$account-$region
lambda_arn=arn:$partition:lambda:$region:$account:function:$name
state_machine_arn=arn:$partition:states:$region:$account:stateMachine:$name
case $region in cn-*) suffix=.cn ;; *) suffix='' ;; esac
queue_url=${AWS_ENDPOINT_URL:-https://sqs.$region.amazonaws.com$suffix}/$account/$name-dead-letters
queue_arn=arn:$partition:sqs:$region:$account:$name-dead-letters
topic_arn=arn:$partition:sns:$region:$account:$name-alarms
tags=installation=$name,project=midi-archive-lambda

finish() {
  say "${dry_run:+a dry run, nothing was changed; }changes: $(wc -l <"$work/changes" | tr -d ' ')"
}
if [[ $action == destroy ]]; then
  destroy
  finish
  exit
fi

read_functions() {
  local function
  for function in "${functions[@]}"; do read_function "$function" & pids+=($!); done
  join
}

if [[ $action == rollback ]]; then
  bucket_exists "$artifacts_bucket" || die "--rollback: there is no installation $name in account $account, $region"
  take_lock
  read_functions
  roll_back
  [[ -n $dry_run$no_smoke || ! -s $work/changes ]] || smoke
  finish
  exit
fi

take_lock
read_schedule "$name-daily" & pids+=($!)
read_functions

# A setting that no option gives keeps its deployed value.
deployed() { # file field default
  if [[ -s $work/$1 ]]; then fact "$work/$1" "$2"; else say "$3"; fi
}
: "${schedule:=$(deployed schedule.json expression 'cron(0 6 * * ? *)')}" "${timezone:=$(deployed schedule.json timezone UTC)}"
: "${memory_mb:=$(deployed generate-tokens.json memory 1769)}"
: "${runtime:=$(deployed generate-tokens.json runtime python3.13)}" "${arch:=$(deployed generate-tokens.json arch x86_64)}"

# ---- build ---------------------------------------------------------------------------------------

say "deploying $name to ${AWS_ENDPOINT_URL:-AWS}, account $account, $region"
mkdir -p build
for folder in generate_tokens midi_save; do
  deploy/build_layer.sh "$folder" "$runtime" "$arch" "build/$folder-$runtime-$arch.zip" & pids+=($!)
done
join
pack() { "$PYTHON" deploy/pack.py "$@"; }
pack "$work/model.zip" "model/model.onnx=$bundle/model.onnx" "model/tokenizer.json=$bundle/tokenizer.json" \
  "model/bundle.json=$bundle/bundle.json" "model/MODEL_CARD.md=$bundle/MODEL_CARD.md" >"$work/model.zip.json"
# Not compressed: these few kilobytes must be the same bytes with every zlib. Otherwise another machine
# would upload the same code again.
shared=(contract=contract music=music)
pack "$work/generate-tokens.zip" --stored --suffix .py "${shared[@]}" generate_tokens=generate_tokens >"$work/generate-tokens.zip.json"
pack "$work/midi-save.zip" --stored --suffix .py "${shared[@]}" midi_save=midi_save >"$work/midi-save.zip.json"
refuse_if_too_large generate-tokens dependencies="build/generate_tokens-$runtime-$arch.zip" model="$work/model.zip" code="$work/generate-tokens.zip"
refuse_if_too_large midi-save dependencies="build/midi_save-$runtime-$arch.zip" model="$work/model.zip" code="$work/midi-save.zip"

# ---- ensure --------------------------------------------------------------------------------------

ensure_bucket "$music_bucket" versioned "$(music_lifecycle)" & pids+=($!)
ensure_bucket "$artifacts_bucket" '' "$(artifacts_lifecycle)" & pids+=($!)
ensure_role "$name-generate-tokens" lambda "$(generate_tokens_policy)" & pids+=($!)
ensure_role "$name-midi-save" lambda "$(midi_save_policy)" & pids+=($!)
ensure_role "$name-statemachine" states "$(statemachine_policy)" & pids+=($!)
ensure_role "$name-schedule" scheduler "$(schedule_policy)" & pids+=($!)
ensure_log_groups & pids+=($!)
ensure_queue "$name-dead-letters" & pids+=($!)
ensure_topic & pids+=($!)
ensure_layer generate-deps "build/generate_tokens-$runtime-$arch.zip" & pids+=($!)
ensure_layer save-deps "build/midi_save-$runtime-$arch.zip" & pids+=($!)
ensure_layer model "$work/model.zip" & pids+=($!)
join

ensure_function generate-tokens generate_tokens 120 generate-deps model & pids+=($!)
ensure_function midi-save midi_save 60 save-deps model & pids+=($!)
ensure_state_machine & pids+=($!)
ensure_alarms & pids+=($!)
ensure_dashboard & pids+=($!)
join
ensure_schedule "$name-daily"
for layer in "${layers[@]}"; do prune_layer "$layer"; done

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
if [[ ! -s $work/changes && -z $taken_over ]]; then
  say "nothing changed, so no trial piece"
elif [[ -z $dry_run$no_smoke ]]; then
  smoke
fi

console=https://$region.console.aws.amazon.com
say
say "pieces         s3://$music_bucket/neural-net/"
say "state machine  $state_machine_arn"
for function in "${functions[@]}"; do say "function       $lambda_arn-$function"; done
say "schedule       $name-daily, $schedule, $timezone"
say "alarms         $topic_arn"
say "console        $console/states/home?region=$region#/statemachines/view/$state_machine_arn"
say "dashboard      $console/cloudwatch/home?region=$region#dashboards/dashboard/$name"
say "a month        about a cent; see 'What it costs' in docs/deploy.md"
finish
