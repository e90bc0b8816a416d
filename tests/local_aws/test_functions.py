"""Functions run as Lambda runs them: warm reuse, limits, layers, errors, logs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from local_aws.clients import make_client
from local_aws.host import VERSION
from local_aws.sandbox import RESPONSE_LIMIT_BYTES
from tests.local_aws.conftest import Cloud, zipped

COUNTER = """
calls = 0
def handler(event, context):
    global calls
    calls += 1
    return calls
"""

BY_EVENT = """
import os, time
def handler(event, context):
    if "sleep_s" in event: time.sleep(event["sleep_s"])
    if "exit" in event: os._exit(event["exit"])
    if "raise" in event: raise type(event["raise"], (Exception,), {})("on purpose")
    if "memory_mb" in event:
        held = bytearray(event["memory_mb"] << 20)
        time.sleep(0.3)
    if "answer_bytes" in event: return "x" * event["answer_bytes"]
    if "write" in event:
        with open(event["write"], "wb") as file:
            file.write(b"x" * event.get("bytes", 1))
    return os.getpid()
"""


def test_second_call_is_warm(cloud: Cloud) -> None:
    cloud.function(COUNTER)

    assert [cloud.invoke().payload for _ in range(3)] == [1, 2, 3]
    reports = [line for line in cloud.log if "REPORT" in line]
    assert ["Init Duration" in line for line in reports] == [True, False, False]


def test_new_code_starts_a_new_process(cloud: Cloud) -> None:
    cloud.function(COUNTER)
    cloud.invoke()

    newer = zipped({"main.py": COUNTER.replace("calls = 0", "calls = 100")})
    cloud.aws.client("lambda").update_function_code(FunctionName="tiny", ZipFile=newer)

    assert cloud.invoke().payload == 101


def test_changed_environment_starts_a_new_process(cloud: Cloud) -> None:
    cloud.function("import os\nname = os.environ['NAME']\ndef handler(e, c): return name",
                   environment={"NAME": "one"})  # fmt: skip
    cloud.invoke()

    cloud.aws.client("lambda").update_function_configuration(
        FunctionName="tiny", Environment={"Variables": {"NAME": "two"}}
    )

    assert cloud.invoke().payload == "two"


def test_simultaneous_calls_have_processes_of_their_own(cloud: Cloud) -> None:
    cloud.function(BY_EVENT)
    pids: list[int] = []
    calls = [
        threading.Thread(target=lambda: pids.append(cloud.invoke({"sleep_s": 1}).payload))
        for _ in range(2)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()

    assert len(set(pids)) == 2


def test_function_is_in_its_own_region(cloud: Cloud) -> None:
    administrator = cloud.aws._administrator
    elsewhere = make_client("lambda", cloud.aws.endpoint, "eu-central-1", administrator)
    source = "import os\ndef handler(e, c): return os.environ['AWS_REGION'], c.invoked_function_arn"
    elsewhere.create_function(
        FunctionName="tiny",
        Runtime=VERSION,
        Role=cloud.role("tiny-role", "lambda.amazonaws.com"),
        Handler="main.handler",
        Code={"ZipFile": zipped({"main.py": source})},
    )

    region, arn = json.loads(elsewhere.invoke(FunctionName="tiny")["Payload"].read())

    assert region == "eu-central-1"
    assert arn.startswith("arn:aws:lambda:eu-central-1:")


def test_time_out_kills_and_the_next_call_starts_afresh(cloud: Cloud) -> None:
    cloud.function(BY_EVENT, timeout_s=1)
    first = cloud.invoke({}).payload

    began = time.monotonic()
    result = cloud.invoke({"sleep_s": 30})
    took_s = time.monotonic() - began

    assert result.error == "Unhandled"
    assert result.payload["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 1.00 seconds" in result.payload["errorMessage"]
    assert 1 <= took_s < 3
    assert cloud.invoke({}).payload != first
    assert any(line.endswith("Status: timeout") for line in cloud.cloudwatch_lines())


def test_memory_over_the_size_kills(cloud: Cloud) -> None:
    cloud.function(BY_EVENT, memory_mb=128)

    result = cloud.invoke({"memory_mb": 400})

    assert result.payload["errorType"] == "Runtime.ExitError"
    assert result.payload["errorMessage"].endswith("signal: killed")
    assert isinstance(cloud.invoke({"memory_mb": 40}).payload, int)


def test_memory_of_children_counts(cloud: Cloud) -> None:
    cloud.function(
        "import subprocess, sys\n"
        "def handler(event, context):\n"
        "    subprocess.run([sys.executable, '-c',"
        " 'import time; held = bytearray(400 << 20); time.sleep(5)'], check=True)\n",
        memory_mb=128,
    )

    assert cloud.invoke({}).payload["errorMessage"].endswith("signal: killed")


def test_remaining_time_is_true(cloud: Cloud) -> None:
    cloud.function(
        "import time\n"
        "def handler(event, context):\n"
        "    before = context.get_remaining_time_in_millis()\n"
        "    time.sleep(0.5)\n"
        "    return before, context.get_remaining_time_in_millis()\n",
        timeout_s=7,
    )

    for _ in range(2):  # cold and warm
        before, after = cloud.invoke().payload
        assert 6800 <= before <= 7000
        assert 400 <= before - after <= 900


def test_exception_of_the_handler_keeps_its_name_and_the_process(cloud: Cloud) -> None:
    cloud.function(BY_EVENT)
    pid = cloud.invoke({}).payload

    result = cloud.invoke({"raise": "PromptError"})

    assert (result.error, result.payload["errorType"]) == ("Unhandled", "PromptError")
    assert result.payload["errorMessage"] == "on purpose"
    assert cloud.invoke({}).payload == pid


def test_exit_of_the_process_is_an_error(cloud: Cloud) -> None:
    cloud.function(BY_EVENT)

    result = cloud.invoke({"exit": 3})

    assert result.payload["errorType"] == "Runtime.ExitError"
    assert result.payload["errorMessage"].endswith("exit status 3")


def test_answer_over_the_limit_is_an_error(cloud: Cloud) -> None:
    cloud.function(BY_EVENT)

    result = cloud.invoke({"answer_bytes": RESPONSE_LIMIT_BYTES})

    assert result.payload["errorType"] == "Function.ResponseSizeTooLarge"


@pytest.mark.parametrize("namespaces", [None, False])
def test_missing_dependency_is_an_import_error(
    start: Callable[..., Cloud], namespaces: bool | None
) -> None:
    """Pytest is installed where the local AWS runs, but is in no layer."""
    cloud = start(namespaces=namespaces)
    cloud.function("import pytest\ndef handler(event, context): return 1")

    result = cloud.invoke()

    assert result.payload["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'pytest'" in result.payload["errorMessage"]


@pytest.mark.parametrize("namespaces", [None, False])
def test_later_layers_win_and_all_are_importable(
    start: Callable[..., Cloud], namespaces: bool | None
) -> None:
    cloud = start(namespaces=namespaces)
    cloud.function(
        "import first, second, shared\n"
        "def handler(event, context): return first.NAME, second.NAME, shared.NAME",
        layers=[
            {"python/first.py": "NAME = 1", "python/shared.py": "NAME = 1"},
            {"python/second.py": "NAME = 2", "python/shared.py": "NAME = 2"},
        ],
    )

    assert cloud.invoke().payload == [1, 2, 2]


@pytest.mark.parametrize("namespaces", [None, False])
def test_layer_files_are_found_by_the_path_in_the_environment(
    start: Callable[..., Cloud], namespaces: bool | None
) -> None:
    """Without namespaces the value is rewritten to where the layer really is."""
    cloud = start(namespaces=namespaces)
    cloud.function(
        "import os\n"
        "def handler(event, context):\n"
        "    return os.environ['MODEL_DIR'], open(os.environ['MODEL_DIR'] + '/facts').read()",
        layers=[{"model/facts": "four layers"}],
        environment={"MODEL_DIR": "/opt/model"},
    )

    directory, facts = cloud.invoke().payload

    assert facts == "four layers"
    assert (directory == "/opt/model") == cloud.aws.namespaces


def test_without_namespaces_temporary_files_are_private(start: Callable[..., Cloud]) -> None:
    cloud = start(namespaces=False)
    cloud.function(
        "import os, tempfile\ndef handler(e, c): return os.listdir(tempfile.gettempdir())"
    )

    assert cloud.invoke().payload == []


def needs_namespaces(cloud: Cloud) -> None:
    if not cloud.aws.namespaces:
        pytest.xfail("this system allows no user namespaces")


def test_only_tmp_can_be_written(cloud: Cloud) -> None:
    needs_namespaces(cloud)
    cloud.function(BY_EVENT, layers=[{"model": "x"}])
    places = ["/var/task/new", "/opt/new", "/opt/model", "/var/runtime/new", "/var/new", "/etc/new"]

    writable = [path for path in [*places, "/tmp/new"] if not cloud.invoke({"write": path}).error]

    assert writable == ["/tmp/new"]


def test_tmp_has_the_size_asked_for(cloud: Cloud) -> None:
    needs_namespaces(cloud)
    cloud.function(BY_EVENT, EphemeralStorage={"Size": 512}, memory_mb=1024)

    assert cloud.invoke({"write": "/tmp/x", "bytes": 400 << 20}).error is None
    assert cloud.invoke({"write": "/tmp/y", "bytes": 400 << 20}).payload["errorType"] == "OSError"


def test_file_that_others_cannot_read_is_unreadable(cloud: Cloud) -> None:
    """As on AWS, where the files are root's and the function is not root."""
    needs_namespaces(cloud)
    cloud.function(BY_EVENT, Code={"ZipFile": zipped({"main.py": BY_EVENT}, mode=0o600)})

    assert cloud.invoke({}).payload["errorType"] == "PermissionError"
    assert any("main.py has mode 600" in line for line in cloud.log)


def test_log_lines_reach_cloudwatch_in_order(cloud: Cloud) -> None:
    cloud.function("def handler(event, context): print('one'); print('two')")
    cloud.invoke()

    lines = cloud.cloudwatch_lines()

    kinds = [line.split()[0] for line in lines]
    assert kinds == ["START", "one", "two", "END", "REPORT"]
    assert "Max Memory Used" in lines[-1]


def test_role_that_may_not_log_has_no_log(cloud: Cloud) -> None:
    mute = cloud.role("mute", "lambda.amazonaws.com")
    cloud.function(BY_EVENT, Role=mute)

    assert cloud.invoke({}).error is None
    assert cloud.aws.client("logs").describe_log_groups()["logGroups"] == []
    assert any("may not logs:PutLogEvents" in line for line in cloud.log)


def test_other_python_than_the_machines_is_named(cloud: Cloud) -> None:
    cloud.function(BY_EVENT, Runtime="python3.9")

    assert "deploy with --runtime" in cloud.invoke({}).payload["errorMessage"]


def test_asynchronous_call_runs(cloud: Cloud) -> None:
    cloud.function("def handler(event, context): print('ran')")
    cloud.aws.client("lambda").invoke(FunctionName="tiny", InvocationType="Event", Payload=b"{}")

    deadline = time.monotonic() + 10
    while "[tiny] ran" not in cloud.log and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "[tiny] ran" in cloud.log
