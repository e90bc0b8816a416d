"""Makes moto's conditional writes to S3 hold when requests come at the same time."""

import threading
from contextlib import ExitStack
from typing import Any

from moto.s3.responses import S3Response

from local_aws.replacing import replace


def install(stack: ExitStack) -> None:
    """Objects are written one after the other until `stack` closes.

    moto compares the condition of PutObject first and writes later: of two requests that say
    If-None-Match, both could find nothing, and both write.
    """
    lock, put_object = threading.Lock(), S3Response.put_object

    def one_at_a_time(response: S3Response) -> Any:
        with lock:
            return put_object(response)

    replace(stack, S3Response, "put_object", one_at_a_time)
