# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Deploys the buckets, and the queue for starts that failed. Sourced by deploy.sh.

music_lifecycle() {
  # runs/ holds what one execution passes from state to state, and trial/ a smoke execution's piece. Old
  # versions are yesterday's "latest". In a versioned bucket an object that expires leaves a delete
  # marker, which S3 removes after the last old version. That is a rule of its own, since no Expiration
  # may have both Days and ExpiredObjectDeleteMarker.
  cat <<'JSON'
[{"ID": "abandoned-uploads", "Status": "Enabled", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
 {"ID": "delete-markers", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": true}},
 {"ID": "old-versions", "Status": "Enabled", "Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 30}},
 {"ID": "runs", "Status": "Enabled", "Filter": {"Prefix": "runs/"}, "Expiration": {"Days": 7}},
 {"ID": "trial", "Status": "Enabled", "Filter": {"Prefix": "trial/"}, "Expiration": {"Days": 1}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}]
JSON
}

artifacts_lifecycle() {
  # The zips in layers/ may expire, since Lambda keeps its own copy of each layer version.
  cat <<'JSON'
[{"ID": "abandoned-uploads", "Status": "Enabled", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
 {"ID": "published", "Status": "Enabled", "Filter": {"Prefix": "layers/"}, "Expiration": {"Days": 7}}]
JSON
}

# Does the bucket exist? Ends deploy.sh if it is another account's.
bucket_exists() { # bucket
  read_tags "$1" >/dev/null
  [[ ! -s $errors ]] || ! grep -q NoSuchBucket "$errors"
}

# Prints the tags of a bucket. The owner is named, so that a bucket which another account made under our
# name is refused.
read_tags() { # bucket
  try s3api get-bucket-tagging --bucket "$1" --expected-bucket-owner "$account" --query 'sort_by(TagSet, &Key)' && return
  ! grep -qE 'NoSuchBucket|NoSuchTagSet' "$errors" || return 0
  grep -qE 'AccessDenied|403' "$errors" || give_up
  cat "$errors" >&2
  die "bucket $1 belongs to another account, or these credentials may not see it: choose another --name, or see deploy/deployer-policy.json"
}

create_bucket() { # bucket
  local where=()
  [[ $region == us-east-1 ]] || where=(--create-bucket-configuration "LocationConstraint=$region")
  # Another deploy.sh may have created it in the meantime.
  [[ -n $dry_run ]] || try s3api create-bucket --bucket "$1" ${where[@]+"${where[@]}"} >/dev/null ||
    grep -q BucketAlreadyOwnedByYou "$errors" || give_up
  change "bucket $1: created"
}

ensure_bucket() { # bucket versioned-or-empty lifecycle-rules
  local bucket=$1 versioned=$2 rules=$3 new='' want settings=() tags have
  tags='[{"Key": "installation", "Value": "'$name'"}, {"Key": "project", "Value": "midi-archive-lambda"}]'
  have=$(read_tags "$bucket")
  if [[ -z $have ]]; then
    bucket_exists "$bucket" || create_bucket "$bucket"
    new=1
  fi
  # Reads one setting, compares and writes it. The tags are written last, so a bucket without them is not
  # complete: its settings are written without being read.
  setting() { # description wanted-json error-when-absent read query write write-arguments...
    local what=$1 want=$2 absent=$3 read=(s3api "$4" --bucket "$bucket" --query "$5") write=$6
    shift 6
    [[ -z $new ]] || read=()
    ensure_setting "bucket $bucket: $what" "$want" "$absent" ${read[@]+"${read[@]}"} -- s3api "$write" --bucket "$bucket" "$@"
  }

  want='{"BlockPublicAcls": true, "IgnorePublicAcls": true, "BlockPublicPolicy": true, "RestrictPublicBuckets": true}'
  setting 'no public access' "$want" NoSuchPublicAccessBlock get-public-access-block PublicAccessBlockConfiguration \
    put-public-access-block --public-access-block-configuration "$want" & settings+=($!)

  # This is also AWS's default. It is not compared later: whoever has chosen another key since then keeps
  # it.
  [[ -z $new ]] || setting encrypted '' '' '' '' put-bucket-encryption --server-side-encryption-configuration \
    '{"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}' & settings+=($!)

  setting lifecycle "$rules" NoSuchLifecycleConfiguration get-bucket-lifecycle-configuration 'sort_by(Rules, &ID)' \
    put-bucket-lifecycle-configuration --lifecycle-configuration "{\"Rules\": $rules}" & settings+=($!)

  if [[ -n $versioned ]]; then
    setting versioned '"Enabled"' NoSuchBucket get-bucket-versioning Status \
      put-bucket-versioning --versioning-configuration Status=Enabled & settings+=($!)
  fi

  # Over plain http, as on a loopback address, this policy would refuse every caller, also this script.
  case ${AWS_ENDPOINT_URL:-} in
    http://*) say "note: $bucket is left without its TLS-only policy, since $AWS_ENDPOINT_URL has no TLS" ;;
    *)
      want='{"Version": "2012-10-17", "Statement": [{"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": ["arn:'$partition':s3:::'$bucket'", "arn:'$partition':s3:::'$bucket'/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}'
      setting 'TLS only' "$want" NoSuchBucketPolicy get-bucket-policy Policy put-bucket-policy --policy "$want" & settings+=($!)
      ;;
  esac
  pids=("${settings[@]}")
  join
  same_json "$tags" "$have" || {
    write s3api put-bucket-tagging --bucket "$bucket" --tagging "{\"TagSet\": $tags}"
    change "bucket $bucket: tags"
  }
}

ensure_queue() { # queue
  # Starts that failed for good are kept here for two weeks, encrypted with SQS's own key. Access is by
  # TLS only.
  local have want policy
  policy='{"Version": "2012-10-17", "Statement": [{"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "sqs:*",
    "Resource": "'$queue_arn'", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}'
  policy=$("$PYTHON" -IS -c 'import json, sys; print(json.dumps(json.dumps(json.loads(sys.argv[1]))))' "$policy")
  want='{"MessageRetentionPeriod": "1209600", "SqsManagedSseEnabled": "true"'
  case ${AWS_ENDPOINT_URL:-} in http://*) want+='}' ;; *) want+=', "Policy": '$policy'}' ;; esac
  # An attribute that is not set yet is null, so it differs from what is wanted.
  have=$(describe 'NonExistentQueue|QueueDoesNotExist' sqs get-queue-attributes --queue-url "$queue_url" --attribute-names All \
    --query "Attributes.{$(case $want in *Policy*) printf 'Policy: Policy, ' ;; esac)MessageRetentionPeriod: MessageRetentionPeriod, SqsManagedSseEnabled: SqsManagedSseEnabled}")
  if [[ -z $have ]]; then
    write sqs create-queue --queue-name "$1" --attributes "$want" --tags "$tags" >/dev/null
    change "queue $1: created"
  elif ! same_json "$want" "$have"; then
    write sqs set-queue-attributes --queue-url "$queue_url" --attributes "$want"
    change "queue $1: attributes"
  fi
}
