"""Rebuilds the site: an execution that makes all its files again, from the pieces and records."""

from __future__ import annotations

import json
import time

from deploy.aws import Aws
from deploy.errors import DeployError
from deploy.execution import StillRunningError, failure, run
from deploy.place import Place

EVENT = {"rebuild_site": True}
LONGEST_S = 3600.0


def rebuild(aws: Aws, place: Place) -> None:
    """Raises DeployError if it fails."""
    began = time.monotonic()
    aws.say("rebuilding the site from all pieces")
    try:
        arn, ended = run(aws, place, "rebuild", EVENT, "rebuilding the site", LONGEST_S)
    except StillRunningError:  # thousands of days take longer, and need nobody who waits
        aws.say("the site is still being rebuilt, which goes on by itself")
        return
    if ended["status"] != "SUCCEEDED":
        raise DeployError(
            f"rebuilding the site failed with {failure(ended)}\n"
            f"Pieces are composed and saved all the same. See the execution {arn} in the console. "
            "'./deploy.sh --rebuild-site' tries again, as does the next piece"
        )
    published = json.loads(ended.get("output") or "{}").get("published", {})
    failed = published.get("not_published", {})
    for day, why in failed.items():
        aws.say(f"site: {day} could not be published: {why}")
    but = f", but for {len(failed)} of the days" if failed else ""
    aws.say(f"site: rebuilt{but}, in {time.monotonic() - began:.0f} s")
