"""`python -m deploy`: what ./deploy.sh does once its environment is there. See its --help."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from deploy import children
from deploy.aws import Aws, clients_of
from deploy.deployment import Deployment
from deploy.errors import AGAIN, DeployError, way_out
from deploy.options import Options, parse
from deploy.place import ROOT


def run(options: Options, session: Any = None) -> None:
    """Do what the options say. Raises DeployError, and the errors of boto3.

    `session` is a boto3.Session, by default the one that the options and the environment name.
    """
    # A profile that is named wins over keys in the environment: boto3 then does not look at them.
    session = session or boto3.Session(profile_name=options.profile)
    asked = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    region = options.region or asked or session.region_name
    if not region:
        raise DeployError("no region: give --region, or set AWS_REGION")
    deployment = Deployment(options, Aws(clients_of(session, region), region, _say))
    if options.action == "deploy":
        deployment.deploy()
    elif options.action == "rollback":
        deployment.rollback()
    elif options.action == "rebuild-site":
        deployment.rebuild_site()
    elif options.action == "complete-days":
        deployment.complete_days(_ask)
    else:
        deployment.destroy(_ask)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")  # in one piece, since threads say things at once
    sys.stdout.flush()


def _ask(question: str) -> str:
    try:
        return input(question)
    except EOFError:
        return ""


def main(arguments: Sequence[str] | None = None, session: Any = None, root: Path = ROOT) -> int:
    """Exit status: 0 if all is done, 1 for an error, which is told with the way out."""
    try:
        caller = Path(os.environ.get("INVOKED_FROM", Path.cwd()))
        given = sys.argv[1:] if arguments is None else arguments
        run(parse(given, caller, root), session)
    except KeyboardInterrupt:
        print(f"deploy.sh: interrupted; what is done stays: {AGAIN}", file=sys.stderr)
        return 130
    except SystemExit as ended:  # --help, or SIGTERM
        return int(ended.code or 0)
    except (DeployError, BotoCoreError, ClientError, OSError) as error:
        others = getattr(error, "__notes__", [])
        said = [*others] if isinstance(error, DeployError) else [str(error), *others]
        out = str(error) if isinstance(error, DeployError) else way_out(error)
        print(*dict.fromkeys(said), f"deploy.sh: {out}", sep="\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    children.end_at_signals()  # the lock is given back then
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # sys.exit would wait for threads, which after Ctrl-C may have minutes to wait
