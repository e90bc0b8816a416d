"""Deploys to the local AWS, with the program behind deploy.sh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deploy.aws import Aws
from deploy.deployment import Deployment
from deploy.errors import DeployError, way_out
from deploy.options import Options
from deploy.wheels import HOST_RUNTIME, host_arch
from local_aws.server import LocalAws
from local_run.progress import progress

ROOT = Path(__file__).resolve().parents[1]


class DeploymentError(RuntimeError):
    """The deployment failed; the message is what it said."""


def deploy(aws: LocalAws, bundle: Path | None = None) -> dict[str, Any]:
    """The names that were deployed. ``bundle`` is the model's folder, if not layers/model.

    Raises DeploymentError.
    """
    lines = [""]
    try:
        options = Options(
            runtime=HOST_RUNTIME,
            arch=host_arch(),
            smoke=False,
            site=True,
            bundle=bundle,
        )
        with progress("deploying", lambda: lines[-1]):
            return Deployment(options, Aws(aws.client, aws.region, lines.append)).deploy()
    except (DeployError, BotoCoreError, ClientError, OSError) as error:
        out = "" if isinstance(error, DeployError) else way_out(error)
        said = "\n".join([*lines[1:], str(error), out])
        raise DeploymentError(f"the deployment failed:\n{said}") from error
