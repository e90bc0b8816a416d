# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Deploys the state machine and its schedule, and tries them with an execution. Sourced by deploy.sh.

ensure_state_machine() {
  local role=arn:$partition:iam::$account:role/$name-statemachine have want
  render statemachine.asl.json >"$work/statemachine.json"
  have=$(describe StateMachineDoesNotExist stepfunctions describe-state-machine --state-machine-arn "$state_machine_arn" \
    --query '[roleArn, tracingConfiguration.enabled, definition]' --output text)
  want=$role$'\t'True$'\t'$(cat "$work/statemachine.json")
  local settings=(--definition "file://$work/statemachine.json" --role-arn "$role" --tracing-configuration enabled=true)
  if [[ -z $have ]]; then
    write stepfunctions create-state-machine --name "$name" --type STANDARD "${settings[@]}" \
      --tags key=installation,value="$name" key=project,value=midi-archive-lambda >/dev/null
    change "state machine $name: created"
  elif [[ $have != "$want" ]]; then
    write stepfunctions update-state-machine --state-machine-arn "$state_machine_arn" "${settings[@]}" >/dev/null
    change "state machine $name: definition"
  fi
}

# Writes the deployed schedule to $work/schedule.json, which is empty if there is none.
read_schedule() { # schedule
  describe ResourceNotFound scheduler get-schedule --name "$1" --query '{expression: ScheduleExpression,
    timezone: ScheduleExpressionTimezone, state: State, window: FlexibleTimeWindow, target: Target}' >"$work/schedule.json"
}

ensure_schedule() { # schedule
  # The scheduler replaces <aws.scheduler.scheduled-time> by the time that the start was due, also when
  # it retries.
  local target want verb=update-schedule what='set'
  target='{"Arn": "'$state_machine_arn'", "RoleArn": "arn:'$partition:iam::$account:role/$name-schedule'",
    "Input": "{\"date\": \"<aws.scheduler.scheduled-time>\"}",
    "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 3}, "DeadLetterConfig": {"Arn": "'$queue_arn'"}}'
  want='{"expression": "'$schedule'", "timezone": "'$timezone'", "state": "ENABLED", "window": {"Mode": "OFF"}, "target": '$target'}'
  ! same_json "$want" "$(cat "$work/schedule.json")" || return 0
  [[ -s $work/schedule.json ]] || verb=create-schedule what=created
  write scheduler $verb --name "$1" --schedule-expression "$schedule" --schedule-expression-timezone "$timezone" \
    --state ENABLED --flexible-time-window Mode=OFF --target "$target" >/dev/null
  change "schedule $1: $what, $schedule $timezone"
}

# Composes a piece of ten seconds through the whole deployment, under trial/, and deletes it again.
smoke() {
  local execution status='' began=$SECONDS facts
  execution=$(write stepfunctions start-execution --state-machine-arn "$state_machine_arn" --name "smoke-$(date +%s)-$$" \
    --input '{"trial": true, "prompt": "fresh", "duration_s": 10, "date": "2000-01-01"}' --query executionArn --output text)
  while [[ -z $status || $status == RUNNING ]]; do
    ((SECONDS - began < 900)) || die "the trial piece is not finished after 15 minutes: see $execution in the console"
    sleep 1
    facts=$(describe NoSuchThing stepfunctions describe-execution --execution-arn "$execution" --query '[status, error, cause]' --output text)
    status=${facts%%[[:space:]]*}
  done
  empty_bucket "$music_bucket" trial/
  [[ $status == SUCCEEDED ]] ||
    die "the trial piece ended ${facts//[$'\t\n']/ }: everything is deployed, but makes no piece. See $execution in the console; './deploy.sh --rollback' goes back to the model before"
  say "trial piece: composed and deleted, in $((SECONDS - began)) s"
}
