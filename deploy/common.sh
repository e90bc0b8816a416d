# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Calling AWS: reading, comparing, writing what differs, and saying what went wrong. Sourced by
# deploy.sh, whose names ($work, $dry_run, ...) it uses and sets: hence SC2154 and SC2034 off, and SC2016 for what is
# not for bash to expand: `backquotes` of --query, ${Placeholders} of templates.

say() { printf '%s\n' "$*"; }
die() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 1
}

# AWS CLI 1 ignores AWS_ENDPOINT_URL for SQS.
aws() { command aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

# Runs the AWS CLI with its errors in the file $errors.
try() {
  errors=$(mktemp "$work/errors.XXXXXX") || die "there is no room for temporary files: free some on the disk of $work"
  aws "$@" 2>"$errors"
}

# Ends with what AWS said and, for what the caller can mend, how.
give_up() {
  local said
  said=$(cat "$errors")
  printf '%s\n' "$said" >&2
  case $said in
    *ExpiredToken* | *'token has expired'* | *'Token has expired'* | *InvalidClientTokenId* | *UnrecognizedClient* | *InvalidAccessKeyId* | *'has expired'* | *'SSO Token'* | *SignatureDoesNotMatch*)
      die "the credentials are no longer valid: sign in again ('aws sso login' or 'aws configure'), then run this again; it goes on from here" ;;
    *'Unable to locate credentials'* | *NoCredentials* | *'config profile'*'could not be found'*)
      die "there are no AWS credentials: run 'aws configure', or see --profile" ;;
    *AccessDenied* | *UnauthorizedOperation* | *'not authorized'* | *'(403)'*)
      die "these credentials may not do that: deploy/deployer-policy.json lists what they need; then run this again, it goes on from here" ;;
    *'Could not connect'* | *EndpointConnectionError* | *'Connection was closed'* | *'Could not resolve'*)
      die "AWS cannot be reached in $region: check the network and --region, then run this again; it goes on from here" ;;
    *'No space left on device'*)
      die "the disk is full: free some, then run this again; it goes on from here" ;;
    *'Unknown options'* | *'Invalid choice'* | *'argument operation'*)
      die "this AWS CLI is too old: 2.23 or 1.37 is needed, both of January 2025" ;;
    *) die "stopped; what is done stays, and running this again goes on from here" ;;
  esac
}

# Every line that tells of a change comes from here; deploy.sh counts them.
change() {
  say "$*"
  say "$*" >>"$work/changes"
}

# The answer to a read, or nothing when the error says that there is no such thing yet.
describe() { # regular-expression-of-the-error aws-arguments...
  local absent=$1
  shift
  try "$@" || grep -qE "$absent" "$errors" || give_up
}

# A call that changes something: its answer, or nothing in a dry run. A role may be so new that the
# service does not know it yet, and a thing still busy with an update that was interrupted: for a
# minute, tried again.
write() { # aws-arguments...
  local attempt
  [[ -z $dry_run ]] || return 0
  for ((attempt = 1; ; attempt++)); do
    try "$@" && return
    ((attempt < 20)) || give_up
    grep -qE 'cannot be assumed|to assume the (provided )?role|valid principal|update is in progress|is in the following state: Pending|managed-rule|does not have permissions to call|IAM Role is not authorized|QueueDeletedRecently|Throttling|Rate exceeded|TooManyRequests|StateMachineDeleting|conflicting conditional operation' "$errors" || give_up
    sleep 3
  done
}

# Taken away; that it was gone already is as good.
remove() { # what regular-expression-of-the-error aws-arguments...
  local what=$1 absent=$2
  shift 2
  if [[ -z $dry_run ]]; then
    try "$@" >/dev/null || {
      grep -qE "$absent" "$errors" || give_up
      return 0
    }
  fi
  change "$what${listing:-: deleted}"
}

# Waits for what was started in the background; its failure is ours.
join() {
  local pid failed=''
  for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" || failed=1; done
  pids=()
  [[ -z $failed ]] || exit 1
}

# Is every field of the wanted JSON as wanted? S3 and SQS give policies as JSON inside a JSON string.
same_json() { # want have
  [[ -n $2 ]] || return 1
  [[ $1 == "$2" ]] || "$PYTHON" -IS -c 'import json, sys
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
  ! same_json "$want" "$have" || return 0
  write "$@" >/dev/null
  change "$what"
}

# A file with ${Name}, ${Account}, ... filled in.
render() { # file
  sed "s|\${Partition}|$partition|g; s|\${Region}|$region|g; s|\${Account}|$account|g; s|\${Name}|$name|g
    s|\${GenerateTokensArn}|$lambda_arn-generate-tokens|g; s|\${MidiSaveArn}|$lambda_arn-midi-save|g
    s|\${StateMachineArn}|$state_machine_arn|g; s|\${TopicArn}|$topic_arn|g" "$1"
}

fact() { "$PYTHON" -IS -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }
