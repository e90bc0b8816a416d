"""What AWS is not ready for yet is waited for: hooks put in the answers that it gives then."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from deploy.aws import Aws, StoppedError, stopping
from deploy.resource import at_once
from tests.deploy.deployer import NAME, REGION, Account, Hooks, times


def test_a_function_that_is_pending_or_being_updated_is_waited_for(made: Account) -> None:
    text = "The function is currently in the following state: Pending"
    hooks = Hooks(
        answers={
            "lambda UpdateFunctionConfiguration": times(3, "ResourceConflictException", text),
            "lambda UpdateFunctionCode": times(
                3, "ResourceConflictException", "An update is in progress for resource: x"
            ),
        }
    )
    (made.root / "music" / "extra.py").write_text("# more code\n")
    try:
        lines = made.deploy("--memory", "3008", hooks=hooks)
    finally:
        (made.root / "music" / "extra.py").unlink()
    assert lines[-1] == "changes: 4"
    updates = [call.operation for call in hooks.writes()]
    assert updates.count("lambda UpdateFunctionConfiguration") == 5
    assert made.deploy("--memory", "1769")[-1] == "changes: 4"


def test_an_existing_function_is_waited_for_before_it_is_updated(made: Account) -> None:
    asked: list[str] = []

    class Pending(Hooks):
        """The first two descriptions of a waiter say that the function is not ready."""

        def register(self, session: Any) -> None:
            super().register(session)
            session.events.register("after-call.lambda.GetFunction", self._pending)

        def _pending(self, parsed: Any, **_: Any) -> None:
            asked.append(parsed["Configuration"]["State"])
            if 3 <= len(asked) <= 6:
                parsed["Configuration"]["State"] = "Pending"

    hooks = Pending()
    made.deploy("--memory", "512", hooks=hooks)
    operations = [call.operation for call in hooks.calls]
    first = operations.index("lambda UpdateFunctionConfiguration")
    assert operations[:first].count("lambda GetFunction") >= 6
    made.deploy("--memory", "1769")


def test_a_bucket_name_that_was_just_given_up_is_waited_for_with_a_word(empty: Account) -> None:
    text = "A conflicting conditional operation is currently in progress against this resource."
    hooks = Hooks(answers={"s3 CreateBucket": times(5, "OperationAborted", text)})
    lines = empty.deploy(hooks=hooks)
    assert sum("waiting up to 10 minutes" in line for line in lines) == 1


def test_a_state_machine_that_is_being_deleted_is_waited_for_and_made_anew(
    empty: Account,
) -> None:
    empty.deploy()
    machine = empty.aws.client("stepfunctions")
    asked: list[str] = []

    class Deleting(Hooks):
        """It is being deleted, and gone after the third time that somebody asks."""

        def register(self, session: Any) -> None:
            super().register(session)
            session.events.register("after-call.sfn.DescribeStateMachine", self._deleting)

        def _deleting(self, parsed: Any, **_: Any) -> None:
            asked.append(parsed.get("status", "gone"))
            if len(asked) <= 3:
                parsed["status"] = "DELETING"
            if len(asked) == 3:
                machine.delete_state_machine(stateMachineArn=parsed["stateMachineArn"])

    lines = empty.deploy(hooks=Deleting())
    assert asked == ["ACTIVE", "ACTIVE", "ACTIVE", "gone"]
    assert f"state machine {NAME}: created" in lines


def test_ctrl_c_does_not_wait_for_what_waits() -> None:
    released = threading.Event()
    began = time.monotonic()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            at_once(lambda _: released.wait(30), range(3))
        assert time.monotonic() - began < 5
        with pytest.raises(StoppedError):  # threads that are left over write nothing more
            Aws(lambda _: object, REGION).write("s3", "__init__")
    finally:
        released.set()
        stopping.clear()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
