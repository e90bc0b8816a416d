"""Makes boto3 clients of the local AWS that ignore the environment: profile, proxy and files."""

import os
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

from local_aws.iam import Credentials

LONGEST_CALL_S = 1000  # Lambda's longest time-out is 900 s


def make_client(
    service: str, endpoint: str, region: str, credentials: Credentials, **config: Any
) -> Any:
    """A boto3 client that makes one attempt only; `config` goes to botocore's Config."""
    return _session().client(
        service,
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.session_token or None,
        config=Config(
            proxies={},
            retries={"total_max_attempts": 1},
            connect_timeout=LONGEST_CALL_S,  # of sending, too: a loaded machine takes a layer late
            read_timeout=LONGEST_CALL_S,
            **config,
        ),
    )


@cache
def _session() -> Any:
    """One session per process, because loading the services' descriptions takes long."""
    # (name in the configuration file, environment variable, default, conversion) of each setting:
    # no environment variable is read, and both files are the empty one.
    nowhere: Any = (None, None, os.devnull, None)
    ignored = {
        "profile": (None, None, None, None),
        "config_file": nowhere,
        "credentials_file": nowhere,
    }
    return boto3.session.Session(botocore_session=botocore.session.Session(session_vars=ignored))
