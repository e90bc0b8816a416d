# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Calls AWS: reads, compares, writes what differs, and says what went wrong. Sourced by deploy.sh.
# It uses and sets deploy.sh's variables ($work, $dry_run, ...), hence SC2154 and SC2034 are off. SC2016
# is off for what bash must not expand: `backquotes` in --query, ${Placeholders} in templates.

say() { printf '%s\n' "$*"; }
die() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 1
}

# AWS CLI 1 ignores AWS_ENDPOINT_URL for SQS.
aws() { command aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

# Runs the AWS CLI and writes its errors to the file $errors.
try() {
  errors=$(mktemp "$work/errors.XXXXXX") || die "there is no room for temporary files: free some on the disk of $work"
  aws "$@" 2>"$errors"
}

# Ends deploy.sh with what AWS said and, if the caller can solve the problem, how.
give_up() {
  local said
  said=$(cat "$errors")
  printf '%s\n' "$said" >&2
  case $said in
    *ExpiredToken* | *'token has expired'* | *'Token has expired'* | *InvalidClientTokenId* | *UnrecognizedClient* | *InvalidAccessKeyId* | *'has expired'* | *'SSO Token'* | *SignatureDoesNotMatch*)
      die "the credentials are no longer valid: sign in again ('aws sso login' or 'aws configure'), then run this again; it continues from here" ;;
    *'Unable to locate credentials'* | *NoCredentials* | *'config profile'*'could not be found'*)
      die "there are no AWS credentials: run 'aws configure', or see --profile" ;;
    *AccessDenied* | *UnauthorizedOperation* | *'not authorized'* | *'(403)'*)
      die "these credentials may not do that: deploy/deployer-policy.json lists what they need; then run this again, it continues from here" ;;
    *'Could not connect'* | *EndpointConnectionError* | *'Connection was closed'* | *'Could not resolve'*)
      die "AWS cannot be reached in $region: check the network and --region, then run this again; it continues from here" ;;
    *'No space left on device'*)
      die "the disk is full: free some, then run this again; it continues from here" ;;
    *'Unknown options'* | *'Invalid choice'* | *'argument operation'*)
      die "this AWS CLI is too old: 2.23 or 1.37 is needed, both of January 2025" ;;
    *) die "stopped; what is done stays, and running this again continues from here" ;;
  esac
}

# Prints and records a change. Every line about a change comes from here, and deploy.sh counts them.
change() {
  say "$*"
  say "$*" >>"$work/changes"
}

# Prints the answer to a read, or nothing if the error says that there is no such thing yet.
describe() { # regular-expression-of-the-error aws-arguments...
  local absent=$1
  shift
  try "$@" || grep -qE "$absent" "$errors" || give_up
}

# Makes a call that changes something and prints its answer; a dry run does nothing. Some errors pass:
# a role may be so new that the service does not know it yet, or an interrupted update may still be in
# progress. After these the call is tried again for a minute.
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

# Deletes something. It is no error if it was gone already.
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

# Waits for what was started in the background, and ends deploy.sh if any of it failed.
join() {
  local pid failed=''
  for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" || failed=1; done
  pids=()
  [[ -z $failed ]] || exit 1
}

# Are both JSON texts the same? S3 and SQS return policies as JSON inside a JSON string.
same_json() { # want have
  [[ -n $2 ]] || return 1
  [[ $1 == "$2" ]] || "$PYTHON" -IS -c 'import json, sys
want, have = map(json.loads, sys.argv[1:])
if isinstance(have, str) and isinstance(want, dict):
    have = json.loads(have)
sys.exit(want != have)' "$1" "$2"
}

# Reads one setting, and writes it if it differs from what is wanted. If there is nothing to read,
# because the thing was just made, the setting is written.
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

# Prints a file with its placeholders ${Name}, ${Account}, ... filled in.
render() { # file
  sed "s|\${Partition}|$partition|g; s|\${Region}|$region|g; s|\${Account}|$account|g; s|\${Name}|$name|g
    s|\${GenerateTokensArn}|$lambda_arn-generate-tokens|g; s|\${MidiSaveArn}|$lambda_arn-midi-save|g
    s|\${StateMachineArn}|$state_machine_arn|g; s|\${TopicArn}|$topic_arn|g" "$1"
}

fact() { "$PYTHON" -IS -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }
