"""How executions get their names (StartExecution), and how they end with the local AWS."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.conftest import Cloud, allow, task


def test_execution_gets_the_name_that_aws_would_give_it(cloud: Cloud) -> None:
    role = cloud.role("states", "states.amazonaws.com")
    machine = cloud.state_machine({"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}, role)
    states = cloud.aws.client("stepfunctions")

    def start(**given: str) -> str:
        return str(states.start_execution(stateMachineArn=machine, **given)["executionArn"])

    made_up = [start(), start(input="{}")]
    assert made_up[0] != made_up[1]
    assert all(uuid.UUID(arn.rpartition(":")[2]).version == 4 for arn in made_up)
    with ThreadPoolExecutor(8) as pool:
        same = set(pool.map(lambda _: start(name="day", input="{}"), range(8)))
    assert len(same) == 1
    assert len(states.list_executions(stateMachineArn=machine)["executions"]) == 3
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        start(name="day", input='{"seed": 1}')
    states.stop_execution(executionArn=same.pop())
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        start(name="day", input="{}")
    for name in ("a b", "a:b", "a/b", "x" * 81):
        with pytest.raises(ClientError, match="InvalidName"):
            start(name=name)


def test_execution_ends_quietly_with_the_local_aws(
    cloud: Cloud, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would be retried, and look for AWS at localhost:5000, as moto does by itself."""
    arn = cloud.function("import time\ndef handler(e, c): time.sleep(60)", timeout_s=60)
    role = cloud.role("states", "states.amazonaws.com", allow("lambda:InvokeFunction", arn))
    again = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 9}]
    machine = cloud.state_machine({"Sleep": task(arn, Retry=again)}, role)
    states = cloud.aws.client("stepfunctions")
    before = {*threading.enumerate()}
    states.start_execution(stateMachineArn=machine, name="day", input="{}")
    deadline = time.monotonic() + 10
    while not any("START" in line for line in cloud.log) and time.monotonic() < deadline:
        time.sleep(0.05)

    cloud.aws.__exit__()
    deadline = time.monotonic() + 5
    while (left := {*threading.enumerate()} - before) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert left == set()
    assert capfd.readouterr() == ("", "")
