# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Lets one deploy.sh run at a time: it holds the object deploy.lock in the artifacts bucket. A
# conditional write lets S3 decide which of two was first. The lock of a dead process is taken over: at
# once if the process ran on this machine, otherwise after LOCK_STALE_S. Sourced by deploy.sh.

LOCK_STALE_S=1800
lock='' taken_over='' # from a deploy.sh that may have died before it was done

take_lock() {
  local body=$work/lock.json found etag since host pid said='' condition=(--if-none-match '*')
  [[ -z $dry_run ]] || return 0
  printf '{"host": "%s", "pid": %d, "since": %d}\n' "$(uname -n)" $$ "$(date +%s)" >"$body"
  while ! try s3api put-object --bucket "$artifacts_bucket" --key deploy.lock --body "$body" --expected-bucket-owner "$account" "${condition[@]}" --query ETag --output text >"$work/lock.etag"; do
    if grep -q NoSuchBucket "$errors"; then
      create_bucket "$artifacts_bucket"
      continue
    fi
    grep -qE 'PreconditionFailed|ConditionalRequestConflict|NoSuchKey|\(404\)' "$errors" || give_up
    condition=(--if-none-match '*')
    found=$(describe 'NoSuchKey' s3api get-object --bucket "$artifacts_bucket" --key deploy.lock --query ETag --output text "$work/lock.found")
    [[ -n $found ]] || continue # given back meanwhile
    etag=$found
    read -r host pid since < <(holder "$work/lock.found")
    if [[ $host == "$(uname -n)" && $pid == "$$" ]]; then
      lock=$found # the answer to our own request was lost on its way
      return
    fi
    if [[ $host == "$(uname -n)" ]] && ! is_running "$pid" || (($(date +%s) - since > LOCK_STALE_S)); then
      condition=(--if-match "$etag") taken_over=1 # unless somebody else has done so by now
      continue
    fi
    [[ -n $said ]] || say "waiting for another deploy.sh, process $pid on $host: if it is dead, delete s3://$artifacts_bucket/deploy.lock"
    said=1
    sleep 3
  done
  lock=$(cat "$work/lock.etag")
}

# Prints host, process and time of a lock. One that cannot be read counts as an old one of no process.
holder() { # file
  "$PYTHON" -IS -c 'import json, sys
try:
    lock = json.load(open(sys.argv[1]))
    print(str(lock["host"]).split()[0], int(lock["pid"]), int(lock["since"]))
except (ValueError, KeyError, TypeError, IndexError):
    print("nowhere", 0, 0)' "$1"
}

is_running() { # pid
  # If the process is another user's, kill says that it is not permitted: then it is running.
  kill -0 "$1" 2>/dev/null || [[ $(LC_ALL=C kill -0 "$1" 2>&1) == *'not permitted'* ]]
}

# Deletes the lock if it is still ours: another process may have taken it over.
give_lock_back() {
  [[ -n $lock ]] || return 0
  aws s3api delete-object --bucket "$artifacts_bucket" --key deploy.lock --if-match "$lock" >/dev/null 2>&1 || true
  lock=''
}
