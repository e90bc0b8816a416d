# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Deploys what informs people: a topic for alarms, the alarms, the dashboard. Sourced by deploy.sh.

ensure_topic() {
  # The topic is not encrypted with a key: CloudWatch may not use AWS's own, and one of ours would cost a
  # dollar a month. Its messages name an alarm and hold no data. Only this installation's alarms may
  # publish.
  local policy read=(sns get-topic-attributes --topic-arn "$topic_arn" --query Attributes.Policy) known
  policy='{"Version": "2012-10-17", "Statement": [{"Sid": "Alarms", "Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"},
    "Action": "sns:Publish", "Resource": "'$topic_arn'", "Condition": {"ArnLike": {"aws:SourceArn": "arn:'$partition:cloudwatch:$region:$account:alarm:$name'-*"}}}]}'
  known=$(describe NotFound "${read[@]}")
  if [[ -z $known ]]; then
    write sns create-topic --name "$name-alarms" --attributes "{\"Policy\": $("$PYTHON" -IS -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$policy")}" \
      --tags Key=installation,Value="$name" Key=project,Value=midi-archive-lambda >/dev/null
    change "topic $name-alarms: created"
  elif ! same_json "$policy" "$known"; then
    write sns set-topic-attributes --topic-arn "$topic_arn" --attribute-name Policy --attribute-value "$policy"
    change "topic $name-alarms: policy"
  fi
  [[ -n $alarm_email ]] || return 0
  known=$(describe NotFound sns list-subscriptions-by-topic --topic-arn "$topic_arn" --query "Subscriptions[?Endpoint=='$alarm_email'].Endpoint" --output text)
  [[ -z $known ]] || return 0
  write sns subscribe --topic-arn "$topic_arn" --protocol email --notification-endpoint "$alarm_email" >/dev/null
  change "topic $name-alarms: mails to $alarm_email, once the address has been confirmed by the link in the first one"
}

# Prints the names of the alarms in deploy/alarms.json.
alarm_names() {
  render deploy/alarms.json | "$PYTHON" -IS -c 'import json, sys; print(*(alarm["AlarmName"] for alarm in json.load(sys.stdin)))'
}

ensure_alarms() {
  local alarm
  render deploy/alarms.json >"$work/alarms.json"
  # shellcheck disable=SC2046  # names without spaces
  describe ResourceNotFound cloudwatch describe-alarms --alarm-names $(alarm_names) --query MetricAlarms >"$work/alarms.have"
  "$PYTHON" - "$work" "$topic_arn" "$name" <<'PYTHON' >"$work/alarms.differ"
import json, sys
from pathlib import Path
work, topic, installation = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
have = {alarm["AlarmName"]: alarm for alarm in json.loads((work / "alarms.have").read_text() or "[]")}
for want in json.loads((work / "alarms.json").read_text()):
    want |= {"AlarmActions": [topic], "OKActions": [topic]}
    known = have.get(want["AlarmName"], {})
    if any((known.get(key) or []) != (value or []) for key, value in want.items()):
        tags = [{"Key": "installation", "Value": installation}, {"Key": "project", "Value": "midi-archive-lambda"}]
        (work / f"{want['AlarmName']}.json").write_text(json.dumps(want if known else want | {"Tags": tags}))
        print(want["AlarmName"])
PYTHON
  pids=()
  while read -r alarm; do
    write cloudwatch put-metric-alarm --cli-input-json "file://$work/$alarm.json" & pids+=($!)
    change "alarm $alarm: set"
  done <"$work/alarms.differ"
  join
}

ensure_dashboard() {
  local want
  want=$(render deploy/dashboard.json)
  ensure_setting "dashboard $name: set" "$want" 'ResourceNotFound|does not exist' cloudwatch get-dashboard --dashboard-name "$name" --query DashboardBody -- \
    cloudwatch put-dashboard --dashboard-name "$name" --dashboard-body "$want"
}
