"""Runs state machines in moto's interpreter, which then calls AWS with the state machine's role.

By itself moto's interpreter signs with invented keys and calls localhost on a fixed port. Here it
gets clients of this local AWS, with the credentials of the state machine's own role. Depends on
neither a particular state machine nor the functions.
"""

import logging
import re
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError
from moto.core.config import default_user_config
from moto.stepfunctions.exceptions import InvalidName
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service import (  # noqa: E501
    StateTaskService,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (  # noqa: E501
    StateTaskServiceCallback,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_lambda import (  # noqa: E501
    StateTaskServiceLambda,
)
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.utils.boto_client import boto_client_for
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.models import (
    StepFunctionsParserBackend,
    stepfunctions_parser_backends,
)

from local_aws.clients import make_client
from local_aws.iam import AssumeRoleError, Iam
from local_aws.replacing import replace

# https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
NAME = re.compile(r"""[^\s<>{}\[\]?*"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}""")
OWN_SERVICE = ("states", "sfn")  # in arn:aws:states:::states:... and ...:::aws-sdk:sfn:...


def install(stack: ExitStack, endpoint: str, iam: Iam, wait: Callable[[float], object]) -> None:
    """Switch the interpreter on and give its tasks real credentials, until `stack` closes.

    `wait` is called with the seconds before each retry.
    """

    def client_for(region: str, service: str, state_credentials: Any = None) -> Any:
        try:
            credentials = iam.assume(
                state_credentials.role_arn, "states.amazonaws.com", "states", "arn:aws:states:::"
            )
        except AssumeRoleError as error:
            refusal: Any = {
                "Error": {"Code": "AccessDeniedException", "Message": str(error)},
                "ResponseMetadata": {"HTTPStatusCode": 403, "RequestId": "-"},
            }
            raise ClientError(refusal, "AssumeRole") from error
        return make_client(service, endpoint, region, credentials, parameter_validation=False)

    # Failures are in the execution's history; the interpreter would also print each of them. It is
    # not told to print again: its threads outlive `stack`.
    logging.getLogger("moto.stepfunctions").setLevel(logging.CRITICAL)
    # In this module the interpreter sleeps before a retry, and uses nothing else of `time`.
    replace(stack, retrier_decl, "time", SimpleNamespace(sleep=wait))
    # By default moto records executions without running them.
    interpreter = default_user_config["stepfunctions"]
    stack.callback(interpreter.__setitem__, "execute_state_machine", False)
    interpreter["execute_state_machine"] = True
    # Each module of the interpreter has imported the function by name: replace it in all of them.
    for module in list(sys.modules.values()):
        uses_it = getattr(module, "__dict__", {}).get("boto_client_for") is boto_client_for
        if uses_it and module is not sys.modules[__name__]:
            replace(stack, module, "boto_client_for", client_for)
    # moto does not change the names in a task's parameters and result. That is right for functions
    # and S3. Step Functions' own names begin with a capital in a definition, but not in its API.
    replace(stack, StateTaskService, "_normalise_parameters", _to_own_names)
    replace(stack, StateTaskService, "_normalise_response", _to_definition_names)
    _install_names(stack)
    # moto redrives nothing, and its executions do not know how often they were.
    environment_of = ExecutionWorker._get_evaluation_environment

    def with_redrive_count(worker: ExecutionWorker) -> Any:
        environment = environment_of(worker)
        execution: Any = environment.states.context_object.context_object_data["Execution"]
        execution["RedriveCount"] = 0
        return environment

    replace(stack, ExecutionWorker, "_get_evaluation_environment", with_redrive_count)
    # Where Lambda cannot be reached, Step Functions names the error of its own SDK.
    from_error = StateTaskServiceLambda._from_error

    def named(task: StateTaskServiceLambda, env: Environment, ex: Exception) -> Any:
        if isinstance(ex, HTTPClientError):
            unreachable: Any = {
                "Error": {"Code": "SdkClientException", "Message": str(ex)},
                "ResponseMetadata": {"HTTPStatusCode": 0, "RequestId": "-"},
            }
            ex = ClientError(unreachable, "Invoke")
        return from_error(task, env, ex)

    replace(stack, StateTaskServiceLambda, "_from_error", named)
    # In moto a task that waits for an execution's end also listens for a task token, which nobody
    # sends. When the task is retried, the wait for that token is already over, and moto takes this
    # for a time-out. Without a callback endpoint the task does not listen.
    eval_sync = StateTaskServiceCallback._eval_sync

    def wait_for_end(*args: Any, **given: Any) -> Any:
        return eval_sync(*args, **(given | {"callback_endpoint": None}))

    replace(stack, StateTaskServiceCallback, "_eval_sync", wait_for_end)


def stop_all() -> None:
    """End what still runs: it would go on without this local AWS, and look for another one."""
    for account in stepfunctions_parser_backends.values():
        for backend in account.values():
            for execution in backend._get_executions(ExecutionStatus.RUNNING):
                with suppress(AttributeError):  # it began a moment ago and has no environment yet
                    execution.stop(datetime.now(UTC), "", "the local AWS is shutting down")


def _install_names(stack: ExitStack) -> None:
    """Executions get their names as AWS gives them.

    moto calls each execution without a name "None", and takes any name. Two requests at the same
    time with the same name would both start an execution.
    """
    start, lock = StepFunctionsParserBackend.start_execution, threading.Lock()

    def start_named(
        backend: StepFunctionsParserBackend, arn: str, name: Any = None, *more: Any, **given: Any
    ) -> Any:
        if name is not None and not NAME.fullmatch(name):
            raise InvalidName(f"Invalid Name: '{name}'")
        with lock:
            return start(backend, arn, name or str(uuid.uuid4()), *more, **given)

    replace(stack, StepFunctionsParserBackend, "start_execution", start_named)


def _to_own_names(task: StateTaskService, parameters: dict[str, Any], **_: Any) -> None:
    """Rename what a Task state passes to Step Functions: StateMachineArn to stateMachineArn."""
    if task.resource.api_name in OWN_SERVICE:
        for name in list(parameters):
            parameters[name[0].lower() + name[1:]] = parameters.pop(name)


def _to_definition_names(task: StateTaskService, response: Any, **_: Any) -> None:
    """Rename what Step Functions returns: executionArn to ExecutionArn.

    An execution's input and output stay as they are.
    """
    if task.resource.api_name in OWN_SERVICE and isinstance(response, dict):
        for name in list(response):
            value = response.pop(name)
            if name not in ("input", "output"):
                _to_definition_names(task, value)
            response[name[0].upper() + name[1:]] = value
