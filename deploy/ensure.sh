# shellcheck shell=bash disable=SC2154
# One function per kind of thing that deploy.sh keeps as it should be. Sourced by deploy.sh, whose
# names ($name, $region, $account, ...: hence SC2154 off) and comparing functions it uses. Each function reads first,
# writes only what differs, and reports each write with `change`.

# ---- S3 ------------------------------------------------------------------------------------------

music_lifecycle() {
  # runs/ holds what one execution passes from state to state; old versions are yesterday's "latest".
  # In a versioned bucket, what expires leaves a delete marker: S3 removes it after the last old version,
  # by a rule of its own, since no Expiration may have both Days and ExpiredObjectDeleteMarker.
  cat <<'JSON'
[{"ID": "abandoned-uploads", "Status": "Enabled", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
 {"ID": "delete-markers", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": true}},
 {"ID": "old-versions", "Status": "Enabled", "Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 30}},
 {"ID": "runs", "Status": "Enabled", "Filter": {"Prefix": "runs/"}, "Expiration": {"Days": 7}}]
JSON
}

artifacts_lifecycle() {
  # Lambda keeps a copy of its own of each layer version.
  cat <<'JSON'
[{"ID": "abandoned-uploads", "Status": "Enabled", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
 {"ID": "published", "Status": "Enabled", "Filter": {"Prefix": "layers/"}, "Expiration": {"Days": 7}}]
JSON
}

ensure_bucket() { # bucket versioned-or-empty lifecycle-rules
  local bucket=$1 versioned=$2 rules=$3 errors new='' want
  errors=$(mktemp "$work/errors.XXXXXX")
  # With the owner named, a bucket that somebody else made under our name is refused, not used.
  if ! aws s3api head-bucket --bucket "$bucket" --expected-bucket-owner "$account" >/dev/null 2>"$errors"; then
    grep -qE '404|NoSuchBucket|Not Found' "$errors" || {
      cat "$errors" >&2
      die "bucket $bucket is not ours to use: choose another --name"
    }
    local where=()
    [[ $region == us-east-1 ]] || where=(--create-bucket-configuration "LocationConstraint=$region")
    aws s3api create-bucket --bucket "$bucket" ${where[@]+"${where[@]}"} >/dev/null
    # AWS's own default too. Not compared later: who chose a key of their own since shall keep it.
    aws s3api put-bucket-encryption --bucket "$bucket" --server-side-encryption-configuration \
      '{"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}'
    change "bucket $bucket: created, encrypted"
    new=1
  fi
  # Reads one setting and compares; what was just made has none to read.
  setting() { # description wanted-json error-when-absent read query write write-arguments...
    local what=$1 want=$2 absent=$3 read=(s3api "$4" --bucket "$bucket" --query "$5") write=$6
    shift 6
    [[ -z $new ]] || read=()
    ensure_setting "bucket $bucket: $what" "$want" "$absent" ${read[@]+"${read[@]}"} -- s3api "$write" --bucket "$bucket" "$@"
  }

  want='{"BlockPublicAcls": true, "IgnorePublicAcls": true, "BlockPublicPolicy": true, "RestrictPublicBuckets": true}'
  setting 'no public access' "$want" NoSuchPublicAccessBlock get-public-access-block PublicAccessBlockConfiguration \
    put-public-access-block --public-access-block-configuration "$want"

  setting lifecycle "$rules" NoSuchLifecycleConfiguration get-bucket-lifecycle-configuration 'sort_by(Rules, &ID)' \
    put-bucket-lifecycle-configuration --lifecycle-configuration "{\"Rules\": $rules}"

  [[ -z $versioned ]] || setting versioned '"Enabled"' NoSuchBucket get-bucket-versioning Status \
    put-bucket-versioning --versioning-configuration Status=Enabled

  # Over plain http, as on a loopback address, this policy would shut out every caller, this script too.
  case ${AWS_ENDPOINT_URL:-} in
    http://*)
      say "note: $bucket is left without its TLS-only policy, since $AWS_ENDPOINT_URL has no TLS"
      return
      ;;
  esac
  want=$(
    cat <<JSON
{"Version": "2012-10-17", "Statement": [{"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
  "Resource": ["arn:$partition:s3:::$bucket", "arn:$partition:s3:::$bucket/*"],
  "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}
JSON
  )
  setting 'TLS only' "$want" NoSuchBucketPolicy get-bucket-policy 'Policy' put-bucket-policy --policy "$want"
}

# ---- IAM -----------------------------------------------------------------------------------------

# Writing its own log, in a group that this script makes: no function may create groups.
log_statement() { # function
  printf '{"Sid": "Log", "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": "arn:%s:logs:%s:%s:log-group:/aws/lambda/%s-%s:*"}' \
    "$partition" "$region" "$account" "$name" "$1"
}

# Listing the pieces, to find the last one. IfExists, because a read of one object carries no prefix,
# and S3 answers "no such key" rather than "access denied" only to those who may list.
list_statement() { # prefixes, as JSON
  printf '{"Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:%s:s3:::%s", "Condition": {"StringLikeIfExists": {"s3:prefix": %s}}}' \
    "$partition" "$music_bucket" "$1"
}

generate_tokens_policy() {
  # Reads the tokens of earlier pieces; keeps long token lists of a run in progress under runs/.
  cat <<JSON
{"Version": "2012-10-17", "Statement": [
  $(log_statement generate-tokens),
  $(list_statement '["neural-net/*", "runs/*"]'),
  {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": [
    "arn:$partition:s3:::$music_bucket/neural-net/*_tokens.json", "arn:$partition:s3:::$music_bucket/runs/*"]},
  {"Sid": "KeepTokens", "Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:$partition:s3:::$music_bucket/runs/*"}]}
JSON
}

midi_save_policy() {
  # Reads a prompt, the run's tokens and the date of the latest piece; writes pieces, deletes nothing.
  cat <<JSON
{"Version": "2012-10-17", "Statement": [
  $(log_statement midi-save),
  $(list_statement '["neural-net/*", "prompts/*", "runs/*"]'),
  {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": [
    "arn:$partition:s3:::$music_bucket/neural-net/token_sequence.json",
    "arn:$partition:s3:::$music_bucket/prompts/*", "arn:$partition:s3:::$music_bucket/runs/*"]},
  {"Sid": "Save", "Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:$partition:s3:::$music_bucket/neural-net/*"}]}
JSON
}

statemachine_policy() {
  cat <<JSON
{"Version": "2012-10-17", "Statement": [{"Sid": "Call", "Effect": "Allow", "Action": "lambda:InvokeFunction",
  "Resource": ["$lambda_arn-generate-tokens", "$lambda_arn-midi-save"]}]}
JSON
}

schedule_policy() {
  # Starts the one state machine; what it could not start, it leaves in the one queue.
  cat <<JSON
{"Version": "2012-10-17", "Statement": [
  {"Sid": "Start", "Effect": "Allow", "Action": "states:StartExecution", "Resource": "$state_machine_arn"},
  {"Sid": "GiveUp", "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "$queue_arn"}]}
JSON
}

ensure_role() { # role service policy
  local role=$1 service=$2 policy=$3 condition='' trust have=''
  # Step Functions and Scheduler say for which account they act: no other may borrow the role through
  # them. Lambda does not say, and takes roles of its own account only.
  [[ $service == lambda ]] || condition=', "Condition": {"StringEquals": {"aws:SourceAccount": "'$account'"}}'
  trust='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "'$service.amazonaws.com'"}, "Action": "sts:AssumeRole"'$condition'}]}'
  local read=(iam get-role-policy --role-name "$role" --policy-name least-privilege --query PolicyDocument)
  have=$(describe NoSuchEntity iam get-role --role-name "$role" --query Role.AssumeRolePolicyDocument)
  if [[ -z $have ]]; then
    aws iam create-role --role-name "$role" --assume-role-policy-document "$trust" >/dev/null
    change "role $role: created"
    read=()
  elif ! same_json "$trust" "$have"; then
    aws iam update-assume-role-policy --role-name "$role" --policy-document "$trust"
    change "role $role: trust"
  fi
  ensure_setting "role $role: policy" "$policy" NoSuchEntity ${read[@]+"${read[@]}"} -- \
    iam put-role-policy --role-name "$role" --policy-name least-privilege --policy-document "$policy"
}

# ---- Lambda --------------------------------------------------------------------------------------

refuse_if_too_large() { # function part=zip... (each zip with its .json beside it)
  "$PYTHON" - "$@" <<'PYTHON' || exit 1
import json, sys
from pathlib import Path
LIMIT_BYTES = 262_144_000  # Lambda's limit for a function and its layers, unzipped
function, *zips = sys.argv[1:]
sizes = {}
for part, path in (pair.split("=", 1) for pair in zips):
    sizes[part] = json.loads(Path(path + ".json").read_text())["unzipped_bytes"]
parts = ", ".join(f"{part} {size / 1e6:.1f} MB" for part, size in sizes.items())
if sum(sizes.values()) > LIMIT_BYTES:
    sys.exit(f"deploy.sh: {function} would be {sum(sizes.values()) / 1e6:.0f} MB unzipped ({parts}); Lambda takes {LIMIT_BYTES / 1e6:.0f} MB: "
             "use a smaller model, or drop packages from its requirements.txt")
print(f"size {function}: {sum(sizes.values()) / 1e6:.1f} MB unzipped ({parts})")
PYTHON
}

# A layer version is named by its content: the same files are never published twice. Leaves the ARN
# of the version in $work/LAYER.arn.
ensure_layer() { # layer zip
  local layer=$1 zip=$2 digest arn key
  local restrict=(--compatible-runtimes "$runtime" --compatible-architectures "$arch")
  [[ $layer != model ]] || restrict=()
  digest=$(fact "$zip.json" content_sha256 | cut -c1-32)
  # As JSON: as text the AWS CLI applies --query to each page of 50 versions and prints an answer for each.
  arn=$(describe ResourceNotFound lambda list-layer-versions --layer-name "$name-$layer" \
    --query "LayerVersions[?Description=='$digest'] | [0].LayerVersionArn" --output json)
  arn=${arn//\"/}
  if [[ -z $arn || $arn == null ]]; then
    key=layers/$name-$layer-$digest.zip
    aws s3 cp --only-show-errors "$zip" "s3://$artifacts_bucket/$key"
    arn=$(aws lambda publish-layer-version --layer-name "$name-$layer" --description "$digest" \
      --content "S3Bucket=$artifacts_bucket,S3Key=$key" ${restrict[@]+"${restrict[@]}"} \
      --query LayerVersionArn --output text)
    change "layer $name-$layer: version ${arn##*:}, $(($(fact "$zip.json" unzipped_bytes) / 1000000)) MB unzipped"
  fi
  say "$arn" >"$work/$layer.arn"
}

ensure_log_groups() {
  local have function group days
  have=$(aws logs describe-log-groups --log-group-name-prefix "/aws/lambda/$name-" \
    --query 'logGroups[].[logGroupName, retentionInDays]' --output text)
  for function in "${functions[@]}"; do
    group=/aws/lambda/$name-$function
    days=$(awk -v group="$group" '$1 == group { print $2 }' <<<"$have")
    [[ $days != 30 ]] || continue
    if [[ -z $days ]]; then
      aws logs create-log-group --log-group-name "$group"
      change "log group $group: created"
    fi
    aws logs put-retention-policy --log-group-name "$group" --retention-in-days 30
    change "log group $group: kept for 30 days"
  done
}

ensure_function() { # function folder memory-mb timeout-s layer...
  local function=$name-$1 zip=$work/$1.zip folder=$2 memory_mb=$3 timeout_s=$4 arns=() layer have environment want wanted_code
  local role=arn:$partition:iam::$account:role/$name-$1
  shift 4
  for layer in "$@"; do arns+=("$(cat "$work/$layer.arn")"); done
  environment="{\"Variables\": {\"MODEL_DIR\": \"/opt/model\", \"MUSIC_BUCKET\": \"$music_bucket\"}}"
  local settings=(--runtime "$runtime" --role "$role" --handler "$folder.handler.handler" --memory-size "$memory_mb"
    --timeout "$timeout_s" --environment "$environment" --layers "${arns[@]}")
  wanted_code=$(fact "$zip.json" zip_sha256_base64)
  have=$(describe ResourceNotFound lambda get-function-configuration --function-name "$function" \
    --query '{runtime: Runtime, role: Role, handler: Handler, memory: MemorySize, timeout: Timeout, environment: Environment, layers: Layers[].Arn, code: CodeSha256, arch: Architectures[0]}')
  if [[ -z $have ]]; then
    have=$(aws_with_new_role lambda create-function --function-name "$function" --architectures "$arch" \
      --zip-file "fileb://$zip" "${settings[@]}" --query State --output text)
    [[ $have == Active ]] || aws lambda wait function-active-v2 --function-name "$function"
    change "function $function: created"
    return
  fi
  want="{\"runtime\": \"$runtime\", \"role\": \"$role\", \"handler\": \"$folder.handler.handler\", \"memory\": $memory_mb, \"timeout\": $timeout_s,
    \"environment\": $environment, \"layers\": [$(printf '"%s",' "${arns[@]}" | sed 's/,$//')]"
  local present_code present_settings
  present_code=$("$PYTHON" -c 'import json, sys
have = json.loads(sys.argv[1])
print(have.pop("code"), have.pop("arch"))
print(json.dumps(have))' "$have")
  present_settings=${present_code#*$'\n'} present_code=${present_code%%$'\n'*}
  # Lambda refuses a second update while the first is under way: wait after each.
  if [[ $present_code != "$wanted_code $arch" ]]; then
    aws lambda update-function-code --function-name "$function" --architectures "$arch" --zip-file "fileb://$zip" >/dev/null
    aws lambda wait function-updated-v2 --function-name "$function"
    change "function $function: code"
  fi
  if ! same_json "$want}" "$present_settings"; then
    aws lambda update-function-configuration --function-name "$function" "${settings[@]}" >/dev/null
    aws lambda wait function-updated-v2 --function-name "$function"
    change "function $function: configuration"
  fi
}

# ---- Step Functions, SQS, Scheduler --------------------------------------------------------------

ensure_state_machine() {
  local role=arn:$partition:iam::$account:role/$name-statemachine have want
  sed "s|\${GenerateTokensArn}|$lambda_arn-generate-tokens|; s|\${MidiSaveArn}|$lambda_arn-midi-save|" \
    statemachine.asl.json >"$work/statemachine.json"
  have=$(describe StateMachineDoesNotExist stepfunctions describe-state-machine --state-machine-arn "$state_machine_arn" \
    --query '[roleArn, definition]' --output text)
  want=$role$'\t'$(cat "$work/statemachine.json")
  if [[ -z $have ]]; then
    aws_with_new_role stepfunctions create-state-machine --name "$name" --type STANDARD \
      --definition "file://$work/statemachine.json" --role-arn "$role" >/dev/null
    change "state machine $name: created"
  elif [[ $have != "$want" ]]; then
    aws stepfunctions update-state-machine --state-machine-arn "$state_machine_arn" \
      --definition "file://$work/statemachine.json" --role-arn "$role" >/dev/null
    change "state machine $name: definition"
  fi
}

ensure_queue() { # queue
  # Starts that failed for good wait here for two weeks; encrypted with SQS's own key.
  local url want='{"MessageRetentionPeriod": "1209600", "SqsManagedSseEnabled": "true"}'
  url=$(describe 'NonExistentQueue|QueueDoesNotExist' sqs get-queue-url --queue-name "$1" --query QueueUrl --output text)
  if [[ -z $url ]]; then
    aws sqs create-queue --queue-name "$1" --attributes "$want" >/dev/null
    change "queue $1: created"
    return
  fi
  ensure_setting "queue $1: attributes" "$want" NonExistentQueue \
    sqs get-queue-attributes --queue-url "$url" --attribute-names MessageRetentionPeriod SqsManagedSseEnabled --query Attributes -- \
    sqs set-queue-attributes --queue-url "$url" --attributes "$want"
}

ensure_schedule() { # schedule
  # The scheduler puts the time that it was due, not the time of a retry, into the event.
  local have target want verb=update-schedule what='set'
  target='{"Arn": "'$state_machine_arn'", "RoleArn": "arn:'$partition:iam::$account:role/$name-schedule'",
    "Input": "{\"date\": \"<aws.scheduler.scheduled-time>\"}",
    "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 3}, "DeadLetterConfig": {"Arn": "'$queue_arn'"}}'
  want='{"expression": "'$schedule'", "timezone": "'$timezone'", "state": "ENABLED", "window": {"Mode": "OFF"}, "target": '$target'}'
  have=$(describe ResourceNotFound scheduler get-schedule --name "$1" \
    --query '{expression: ScheduleExpression, timezone: ScheduleExpressionTimezone, state: State, window: FlexibleTimeWindow, target: Target}')
  same_json "$want" "$have" && return
  [[ -n $have ]] || verb=create-schedule what=created
  aws_with_new_role scheduler $verb --name "$1" --schedule-expression "$schedule" --schedule-expression-timezone "$timezone" \
    --state ENABLED --flexible-time-window Mode=OFF --target "$target" >/dev/null
  change "schedule $1: $what, $schedule $timezone"
}
