"""Calls AWS: a client for each service, None for what is not there, and patience.

Retries of throttled and interrupted calls are botocore's (standard mode). What is here besides is
waiting for something that was made or deleted a moment ago. Depends on neither a kind of resource
nor an installation.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError

# An answer that means: there is no such thing.
ABSENT = re.compile(r"NoSuch|NotFound|NonExistent|DoesNotExist|^404:")
# Answers to a write that pass by themselves, and for how many seconds to try again.
NOT_YET = (
    # A new role or its policy has not reached this service, or not all of IAM.
    (r"cannot be assumed|to assume the (provided )?role|valid principal|managed-rule", 60.0),
    (r"does not have permissions to call|Role is not authorized", 60.0),
    (r"NoSuchEntity: The role with name", 60.0),
    # Lambda is still busy with the update before; a state machine or queue is being deleted.
    (r"ResourceConflict(?!.*already exist)|StateMachineDeleting|QueueDeletedRecently", 90.0),
    # A distribution that was disabled, or was deleted with its access control, a moment ago.
    (r"DistributionNotDisabled|OriginAccessControlInUse", 60.0),
    # S3 gives the name of a deleted bucket back after some minutes.
    (r"OperationAborted", 600.0),
)
POLL_S = 3.0

sleep = time.sleep  # tests replace it
stopping = threading.Event()  # after Ctrl-C: threads that are still at work write nothing more


class StoppedError(RuntimeError):
    """The process is about to end."""


def pause(seconds: float = POLL_S) -> None:
    """Wait before asking AWS again. Raises StoppedError."""
    sleep(seconds)
    _go_on()


def _go_on() -> None:
    if stopping.is_set():
        raise StoppedError


class Aws:
    """AWS in one account and region.

    `client` makes a boto3 client of a service; `say` tells people why a call takes long.
    """

    def __init__(
        self, client: Callable[[str], Any], region: str, say: Callable[[str], None] = print
    ) -> None:
        self.client, self.region, self.say = client, region, say

    def read(self, service: str, operation: str, **arguments: Any) -> Any:
        """The answer to a call, or None if it says that there is no such thing."""
        return unless_absent(lambda: getattr(self.client(service), operation)(**arguments))

    def write(self, service: str, operation: str, **arguments: Any) -> Any:
        """The answer to a call that changes something. Waits for what is not ready yet."""
        call = getattr(self.client(service), operation)
        began = time.monotonic()
        told = False
        _go_on()
        while True:
            try:
                return call(**arguments)
            except ClientError as error:
                said = said_by(error)
                longest_s = max((s for text, s in NOT_YET if re.search(text, said)), default=0.0)
                if time.monotonic() - began >= longest_s:
                    raise
                if longest_s > 100 and not told:
                    self.say(f"waiting up to {longest_s / 60:.0f} minutes, since AWS says: {said}")
                    told = True
            pause()

    def remove(self, service: str, operation: str, **arguments: Any) -> None:
        """Delete something. It is no error if it is gone already."""
        _go_on()
        unless_absent(lambda: getattr(self.client(service), operation)(**arguments))

    def items(self, service: str, operation: str, name: str, **arguments: Any) -> list[Any]:
        """The list `name` in all pages of the answer to a call; empty for what is absent.

        `name` may be that of a list in a structure: DistributionList.Items.
        """
        pages = self.client(service).get_paginator(operation).paginate(**arguments)
        # A page without the list is found as None.
        found = (item for item in pages.search(f"{name}[]") if item is not None)
        return unless_absent(lambda: [*found]) or []


def unless_absent(call: Callable[[], Any]) -> Any:
    """What `call` returns, or None if AWS says that there is no such thing."""
    try:
        return call()
    except ClientError as error:
        if not ABSENT.search(said_by(error)):
            raise
        return None


def clients_of(session: Any, region: str) -> Callable[[str], Any]:
    """Makes the clients of a boto3.Session, one for each service, in one thread at a time."""
    lock = threading.Lock()

    @cache
    def make(service: str) -> Any:
        own = {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & {*os.environ}
        retries: Any = None if own else {"mode": "standard", "total_max_attempts": 8}
        config = Config(retries=retries, read_timeout=300)  # a layer is sent in one piece
        return session.client(service, region_name=region, config=config)

    def client(service: str) -> Any:
        with lock:
            return make(service)

    return client


def said_by(error: ClientError) -> str:
    """What AWS said: the error's code and message."""
    return f"{error.response['Error'].get('Code')}: {error.response['Error'].get('Message')}"
