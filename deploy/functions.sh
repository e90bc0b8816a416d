# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Publishes layers once for each content, deploys the functions with them, deletes old layer versions
# and rolls back. Sourced by deploy.sh.

KEPT_VERSIONS=3 # of each layer, beside those in use: what a rollback can go back to

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

# Prints the versions of a layer, the newest first, one a line: number, digest of the content, ARN.
layer_versions() { # layer
  # --output text applies --query to each page of 50 versions, and prints each version on a line.
  describe ResourceNotFound lambda list-layer-versions --layer-name "$name-$1" \
    --query 'LayerVersions[].[Version, Description, LayerVersionArn]' --output text | sort -rn
}

# Publishes a layer version, unless one with the same content exists: the digest of the content is the
# description of a version. The model is different: --rollback goes back through its versions, so a
# model that was replaced and is wanted again is published again. Writes the ARN of the version to
# $work/LAYER.arn and all versions to $work/LAYER.versions.
ensure_layer() { # layer zip
  local layer=$1 zip=$2 digest arn key versions=$work/$1.versions
  local restrict=(--compatible-runtimes "$runtime" --compatible-architectures "$arch")
  [[ $layer != model ]] || restrict=()
  digest=$(fact "$zip.json" content_sha256 | cut -c1-32)
  layer_versions "$layer" >"$versions"
  if [[ $layer == model ]]; then
    arn=$(awk -v digest="$digest" 'NR == 1 && $2 == digest { print $3 }' "$versions")
  else
    arn=$(awk -v digest="$digest" '$2 == digest { print $3; exit }' "$versions")
  fi
  if [[ -z $arn ]]; then
    key=layers/$name-$layer-$digest.zip
    write s3 cp --only-show-errors "$zip" "s3://$artifacts_bucket/$key"
    arn=$(write lambda publish-layer-version --layer-name "$name-$layer" --description "$digest" \
      --content "S3Bucket=$artifacts_bucket,S3Key=$key" ${restrict[@]+"${restrict[@]}"} \
      --query LayerVersionArn --output text)
    [[ -n $arn ]] || arn=arn:$partition:lambda:$region:$account:layer:$name-$layer:new # a dry run's
    printf '%s\t%s\t%s\n' "${arn##*:}" "$digest" "$arn" | cat - "$versions" >"$versions.new"
    mv "$versions.new" "$versions"
    change "layer $name-$layer: version ${arn##*:}, $(($(fact "$zip.json" unzipped_bytes) / 1000000)) MB unzipped"
  fi
  say "$arn" >"$work/$layer.arn"
}

# Deletes the versions that no rollback needs, after the functions use the wanted ones.
prune_layer() { # layer
  local number arn
  while read -r number _ arn; do
    [[ $arn != "$(cat "$work/$1.arn")" ]] || continue
    remove "layer $name-$1: version $number" ResourceNotFound lambda delete-layer-version --layer-name "$name-$1" --version-number "$number"
  done < <(tail -n "+$((KEPT_VERSIONS + 1))" "$work/$1.versions")
}

ensure_log_groups() {
  local have function group days
  have=$(describe ResourceNotFound logs describe-log-groups --log-group-name-prefix "/aws/lambda/$name-" \
    --query 'logGroups[].[logGroupName, retentionInDays]' --output text)
  for function in "${functions[@]}"; do
    group=/aws/lambda/$name-$function
    days=$(awk -v group="$group" '$1 == group { print $2 }' <<<"$have")
    [[ $days != 30 ]] || continue
    if [[ -z $days ]]; then
      write logs create-log-group --log-group-name "$group" --tags "$tags"
      change "log group $group: created"
    fi
    write logs put-retention-policy --log-group-name "$group" --retention-in-days 30
    change "log group $group: kept for 30 days"
  done
}

# Writes the deployed function to $work/FUNCTION.json, which is empty if there is none.
read_function() { # function
  describe ResourceNotFound lambda get-function-configuration --function-name "$name-$1" --query '{runtime: Runtime, role: Role,
    handler: Handler, memory: MemorySize, timeout: Timeout, environment: Environment, layers: Layers[].Arn,
    tracing: TracingConfig.Mode, code: CodeSha256, arch: Architectures[0]}' >"$work/$1.json"
}

ensure_function() { # function folder timeout-s layer...
  local function=$name-$1 zip=$work/$1.zip have=$work/$1.json folder=$2 timeout_s=$3 arns=() layer environment settings want
  local role=arn:$partition:iam::$account:role/$name-$1 state
  shift 3
  for layer in "$@"; do arns+=("$(cat "$work/$layer.arn")"); done
  environment='{"Variables": {"MODEL_DIR": "/opt/model", "MUSIC_BUCKET": "'$music_bucket'", "METRICS_NAMESPACE": "'$name'"}}'
  settings=(--runtime "$runtime" --role "$role" --handler "$folder.handler.handler" --memory-size "$memory_mb"
    --timeout "$timeout_s" --environment "$environment" --layers "${arns[@]}" --tracing-config Mode=Active)
  if [[ ! -s $have ]]; then
    state=$(write lambda create-function --function-name "$function" --architectures "$arch" \
      --zip-file "fileb://$zip" "${settings[@]}" --tags "$tags" --query State --output text)
    [[ -n $dry_run || $state == Active ]] || wait_for function-active-v2 "$function"
    change "function $function: created"
    return
  fi
  want='{"runtime": "'$runtime'", "role": "'$role'", "handler": "'$folder'.handler.handler", "memory": '$memory_mb', "timeout": '$timeout_s',
    "environment": '$environment', "tracing": "Active", "layers": ['$(printf '"%s",' "${arns[@]}" | sed 's/,$//')'],
    "code": "'$(fact "$zip.json" zip_sha256_base64)'", "arch": "'$arch'"}'
  # Lambda refuses a second update while the first is in progress, so wait after each.
  for part in $(differing "$want" "$(cat "$have")"); do
    if [[ $part == code ]]; then
      write lambda update-function-code --function-name "$function" --architectures "$arch" --zip-file "fileb://$zip" >/dev/null
    else
      write lambda update-function-configuration --function-name "$function" "${settings[@]}" >/dev/null
    fi
    wait_for function-updated-v2 "$function"
    change "function $function: $part"
  done
}

# Prints which of code (with its architecture) and configuration differ from what is wanted.
differing() { # want have
  "$PYTHON" -IS -c 'import json, sys
want, have = map(json.loads, sys.argv[1:])
for part in ("code", "configuration"):
    keys = [key for key in want if (key in ("code", "arch")) == (part == "code")]
    if any(want[key] != have.get(key) for key in keys):
        print(part)' "$@"
}

wait_for() { # waiter function
  [[ -n $dry_run ]] || try lambda wait "$1" --function-name "$2" || give_up
}

# Sets both functions back to the model version before theirs. If the two differ, an earlier rollback
# was interrupted: it is completed, with the older of the two versions for both.
roll_back() {
  local function arn used older='' layers
  for function in "${functions[@]}"; do
    [[ -s $work/$function.json ]] || die "--rollback: there is no function $name-$function in $region: deploy first"
    used=$(sed -n "s|.*:layer:$name-model:\([0-9]*\)\".*|\1|p" "$work/$function.json")
    [[ -n $used ]] || die "--rollback: $name-$function has no layer $name-model: deploy again"
    say "$used" >>"$work/used"
  done
  used=$(sort -n "$work/used" | head -n 1)
  [[ $(sort -u "$work/used" | wc -l) -gt 1 ]] && older=$used
  [[ -n $older ]] || older=$(layer_versions model | awk -v used="$used" '$1 < used { print $1; exit }')
  [[ -n $older ]] || die "--rollback: model version $used is the oldest that is kept: there is none before it"
  arn=arn:$partition:lambda:$region:$account:layer:$name-model:$older
  for function in "${functions[@]}"; do
    layers=$("$PYTHON" -IS -c 'import json, sys
print(" ".join(sys.argv[2] if arn.rpartition(":")[0] == sys.argv[2].rpartition(":")[0] else arn for arn in json.load(open(sys.argv[1]))["layers"]))' "$work/$function.json" "$arn")
    ! grep -q "\"$arn\"" "$work/$function.json" || continue
    # shellcheck disable=SC2086  # ARNs have no spaces
    write lambda update-function-configuration --function-name "$name-$function" --layers $layers >/dev/null
    wait_for function-updated-v2 "$name-$function"
    change "function $name-$function: model version $older"
  done
}
