# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Deletes an installation. Sourced by deploy.sh. `destroy_all` finds what there is and deletes it; in a
# dry run it only lists it. So the list that people are shown comes from the code that deletes.

# Deletes every version of every object.
empty_bucket() { # bucket prefix
  local page refused
  while :; do
    page=$(describe NoSuchBucket s3api list-object-versions --bucket "$1" --prefix "$2" --no-paginate \
      --query '{Quiet: `true`, Objects: [Versions, DeleteMarkers][][].{Key: Key, VersionId: VersionId}}')
    [[ $page == *VersionId* ]] || return 0
    printf '%s' "$page" >"$work/objects.json"
    [[ -z $dry_run ]] || return 0
    # If S3 refuses to delete one object, the call still succeeds and its answer has the error.
    refused=$(write s3api delete-objects --bucket "$1" --delete "file://$work/objects.json" --query 'Errors[0].[Code, Key, Message]' --output text)
    [[ -z $refused || $refused == None ]] || {
      printf '%s\n' "$refused" >"$errors"
      give_up
    }
  done
}

destroy_all() {
  local function layer number group names role
  pids=()
  read_schedule "$name-daily" & pids+=($!)
  for function in "${functions[@]}"; do read_function "$function" & pids+=($!); done
  for layer in "${layers[@]}"; do layer_versions "$layer" >"$work/$layer.versions" & pids+=($!); done
  describe StateMachineDoesNotExist stepfunctions describe-state-machine --state-machine-arn "$state_machine_arn" --query name --output text >"$work/machine" & pids+=($!)
  describe ResourceNotFound logs describe-log-groups --log-group-name-prefix "/aws/lambda/$name-" --query 'logGroups[].[logGroupName]' --output text >"$work/groups" & pids+=($!)
  # shellcheck disable=SC2046  # names without spaces
  describe ResourceNotFound cloudwatch describe-alarms --alarm-names $(alarm_names) --query 'MetricAlarms[].AlarmName' --output text >"$work/alarms" & pids+=($!)
  describe 'ResourceNotFound|does not exist' cloudwatch get-dashboard --dashboard-name "$name" --query DashboardName --output text >"$work/dashboard" & pids+=($!)
  describe NotFound sns get-topic-attributes --topic-arn "$topic_arn" --query Attributes.TopicArn --output text >"$work/topic" & pids+=($!)
  describe 'NonExistentQueue|QueueDoesNotExist' sqs get-queue-attributes --queue-url "$queue_url" --attribute-names QueueArn --query Attributes.QueueArn --output text >"$work/queue" & pids+=($!)
  for role in "${roles[@]}"; do
    describe NoSuchEntity iam get-role --role-name "$name-$role" --query Role.RoleName --output text >"$work/role-$role" & pids+=($!)
  done
  join

  # What starts executions is deleted first, then what they run. The buckets are last, since one of them
  # holds the lock.
  [[ ! -s $work/schedule.json ]] || remove "schedule $name-daily" ResourceNotFound scheduler delete-schedule --name "$name-daily"
  [[ ! -s $work/machine ]] || remove "state machine $name" StateMachineDoesNotExist stepfunctions delete-state-machine --state-machine-arn "$state_machine_arn"
  for function in "${functions[@]}"; do
    [[ ! -s $work/$function.json ]] || remove "function $name-$function" ResourceNotFound lambda delete-function --function-name "$name-$function" & pids+=($!)
  done
  join
  for layer in "${layers[@]}"; do
    while read -r number _; do
      remove "layer $name-$layer: version $number" ResourceNotFound lambda delete-layer-version --layer-name "$name-$layer" --version-number "$number"
    done <"$work/$layer.versions" & pids+=($!)
  done
  for function in "${functions[@]}"; do
    group=/aws/lambda/$name-$function
    ! grep -qx "$group" "$work/groups" || remove "log group $group" ResourceNotFound logs delete-log-group --log-group-name "$group" & pids+=($!)
  done
  names=$(cat "$work/alarms")
  # shellcheck disable=SC2086  # names without spaces
  [[ -z $names ]] || remove "alarms ${names//[$'\t\n']/ }" ResourceNotFound cloudwatch delete-alarms --alarm-names $names & pids+=($!)
  [[ ! -s $work/dashboard ]] || remove "dashboard $name" 'ResourceNotFound|does not exist' cloudwatch delete-dashboards --dashboard-names "$name" & pids+=($!)
  [[ ! -s $work/topic ]] || remove "topic $name-alarms" NotFound sns delete-topic --topic-arn "$topic_arn" & pids+=($!)
  [[ ! -s $work/queue ]] || remove "queue $name-dead-letters" 'NonExistentQueue|QueueDoesNotExist' sqs delete-queue --queue-url "$queue_url" & pids+=($!)
  for role in "${roles[@]}"; do [[ ! -s $work/role-$role ]] || remove_role "$name-$role" & pids+=($!); done
  join
  remove_bucket "$music_bucket"
  remove_bucket "$artifacts_bucket"
}

remove_role() { # role
  [[ -n $dry_run ]] || try iam delete-role-policy --role-name "$1" --policy-name least-privilege || grep -q NoSuchEntity "$errors" || give_up
  remove "role $1" NoSuchEntity iam delete-role --role-name "$1"
}

# Deletes a bucket; the music bucket only with --delete-music.
remove_bucket() { # bucket
  local keys
  bucket_exists "$1" || return 0
  if [[ $1 == "$music_bucket" && -z $delete_music ]]; then
    say "bucket $1: kept, with the music (--delete-music deletes it)"
    return
  fi
  keys=$(describe NoSuchBucket s3api list-object-versions --bucket "$1" --no-paginate --query 'length([Versions, DeleteMarkers][][])')
  ((${keys:-0} < 1000)) || keys='1000 or more'
  empty_bucket "$1" ''
  remove "bucket $1, with ${keys:-0} versions of objects" NoSuchBucket s3api delete-bucket --bucket "$1"
}

destroy() {
  local answer
  say "installation $name in account $account ($caller_arn), $region:"
  local only_list=$dry_run
  dry_run=1 listing=' '
  destroy_all
  dry_run=$only_list listing=''
  if [[ ! -s $work/changes ]]; then
    say "there is nothing to delete"
    return
  fi
  [[ -z $dry_run ]] || return 0
  : >"$work/changes"
  printf 'Delete all of these, for good? Type the name of the installation, %s: ' "$name"
  read -r answer || answer=''
  [[ $answer == "$name" ]] || die "nothing was deleted: the answer was not '$name'"
  ! bucket_exists "$artifacts_bucket" || take_lock
  destroy_all
  lock='' # went with its bucket
}
