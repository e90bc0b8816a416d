"""Rebuilds the site: an execution that makes all its files again, from the pieces and records."""

from __future__ import annotations

import time

from deploy.aws import Aws
from deploy.errors import DeployError
from deploy.execution import failure, run
from deploy.place import Place

EVENT = {"rebuild_site": True}
LONGEST_S = 3600.0


def rebuild(aws: Aws, place: Place) -> None:
    """Raises DeployError if it fails."""
    began = time.monotonic()
    aws.say("rebuilding the site from all pieces")
    arn, ended = run(aws, place, "rebuild", EVENT, "rebuilding the site", LONGEST_S)
    if ended["status"] != "SUCCEEDED":
        raise DeployError(
            f"rebuilding the site failed with {failure(ended)}\n"
            f"Pieces are composed and saved all the same. See the execution {arn} in the console. "
            "'./deploy.sh --rebuild-site' tries again, as does the next piece"
        )
    aws.say(f"site: rebuilt, in {time.monotonic() - began:.0f} s")
