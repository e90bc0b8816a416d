# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Defines who may do what: each function, the state machine and the schedule have one role each, with
# one inline policy. Sourced by deploy.sh.

# Lets a function write its own log: CreateLogStream, since each instance begins a stream, and
# PutLogEvents for its lines. This script makes the log group, as no function may create groups. The
# X-Ray actions are for "*", because X-Ray has no resources to name: they add to the account's traces.
# Step Functions also asks X-Ray which executions to trace.
log_statements() { # function
  cat <<JSON
{"Sid": "Log", "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
   "Resource": "arn:$partition:logs:$region:$account:log-group:/aws/lambda/$name-$1:*"},
  $(trace_statement)
JSON
}

trace_statement() { # more actions
  printf '{"Sid": "Trace", "Effect": "Allow", "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"%s], "Resource": "*"}' "${1:-}"
}

# Lets a function list the pieces, to find the last one. StringLikeIfExists, because a read of one
# object has no prefix, and S3 answers "no such key" rather than "access denied" only to those who may
# list. (So a listing without a prefix is allowed too: it shows names, not contents.)
list_statement() { # prefixes, as JSON
  printf '{"Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:%s:s3:::%s", "Condition": {"StringLikeIfExists": {"s3:prefix": %s}}}' \
    "$partition" "$music_bucket" "$1"
}

generate_tokens_policy() {
  # Read: the tokens of earlier pieces, to continue them (not the MIDI, not the records); those of smoke
  # executions, which are apart under trial/; and those of its own run. KeepTokens: a run's token lists
  # that are too long for a message. It writes no piece.
  cat <<JSON
{"Version": "2012-10-17", "Statement": [
  $(log_statements generate-tokens),
  $(list_statement '["neural-net/*", "trial/*", "runs/*"]'),
  {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": [
    "arn:$partition:s3:::$music_bucket/neural-net/*_tokens.json", "arn:$partition:s3:::$music_bucket/trial/*_tokens.json",
    "arn:$partition:s3:::$music_bucket/runs/*"]},
  {"Sid": "KeepTokens", "Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:$partition:s3:::$music_bucket/runs/*"}]}
JSON
}

midi_save_policy() {
  # Read: a prompt, the run's tokens, and the date of the latest piece (which token_sequence.json tells).
  # Save: pieces, and under trial/ those of smoke executions. It deletes nothing, and in a versioned
  # bucket what it overwrites can be restored.
  cat <<JSON
{"Version": "2012-10-17", "Statement": [
  $(log_statements midi-save),
  $(list_statement '["neural-net/*", "trial/*", "prompts/*", "runs/*"]'),
  {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": [
    "arn:$partition:s3:::$music_bucket/neural-net/token_sequence.json", "arn:$partition:s3:::$music_bucket/trial/token_sequence.json",
    "arn:$partition:s3:::$music_bucket/prompts/*", "arn:$partition:s3:::$music_bucket/runs/*"]},
  {"Sid": "Save", "Effect": "Allow", "Action": "s3:PutObject", "Resource": [
    "arn:$partition:s3:::$music_bucket/neural-net/*", "arn:$partition:s3:::$music_bucket/trial/*"]}]}
JSON
}

statemachine_policy() {
  # Call: the two functions. The others are for batches. Fan: start an execution of this same state
  # machine for each piece. Follow: wait for it, and stop it when the batch itself is stopped.
  # HearOfTheEnd: the one rule with which Step Functions, in each account, is told of executions' ends.
  cat <<JSON
{"Version": "2012-10-17", "Statement": [
  {"Sid": "Call", "Effect": "Allow", "Action": "lambda:InvokeFunction",
    "Resource": ["$lambda_arn-generate-tokens", "$lambda_arn-midi-save"]},
  {"Sid": "Fan", "Effect": "Allow", "Action": "states:StartExecution", "Resource": "$state_machine_arn"},
  {"Sid": "Follow", "Effect": "Allow", "Action": ["states:DescribeExecution", "states:StopExecution"],
    "Resource": "arn:$partition:states:$region:$account:execution:$name:*"},
  {"Sid": "HearOfTheEnd", "Effect": "Allow", "Action": ["events:PutTargets", "events:PutRule", "events:DescribeRule"],
    "Resource": "arn:$partition:events:$region:$account:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"},
  $(trace_statement ', "xray:GetSamplingRules", "xray:GetSamplingTargets"')]}
JSON
}

schedule_policy() {
  # Start: the one state machine. GiveUp: the one queue, for starts that failed.
  cat <<JSON
{"Version": "2012-10-17", "Statement": [
  {"Sid": "Start", "Effect": "Allow", "Action": "states:StartExecution", "Resource": "$state_machine_arn"},
  {"Sid": "GiveUp", "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "$queue_arn"}]}
JSON
}

ensure_role() { # role service policy
  local role=$1 service=$2 policy=$3 condition='' trust have=
  # Step Functions and Scheduler name the account for which they act, so the condition keeps other
  # accounts from using the role through them. Lambda names none, and takes roles of its own account
  # only.
  [[ $service == lambda ]] || condition=', "Condition": {"StringEquals": {"aws:SourceAccount": "'$account'"}}'
  trust='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "'$service.amazonaws.com'"}, "Action": "sts:AssumeRole"'$condition'}]}'
  local read=(iam get-role-policy --role-name "$role" --policy-name least-privilege --query PolicyDocument)
  have=$(describe NoSuchEntity iam get-role --role-name "$role" --query Role.AssumeRolePolicyDocument)
  if [[ -z $have ]]; then
    write iam create-role --role-name "$role" --assume-role-policy-document "$trust" \
      --tags Key=installation,Value="$name" Key=project,Value=midi-archive-lambda >/dev/null
    change "role $role: created"
    read=()
  elif ! same_json "$trust" "$have"; then
    write iam update-assume-role-policy --role-name "$role" --policy-document "$trust"
    change "role $role: trust"
  fi
  ensure_setting "role $role: policy" "$policy" NoSuchEntity ${read[@]+"${read[@]}"} -- \
    iam put-role-policy --role-name "$role" --policy-name least-privilege --policy-document "$policy"
}
