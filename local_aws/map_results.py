"""The result files of a Distributed Map in S3, which moto's interpreter leaves out.

moto writes the manifest only, with empty lists, and forgets why an item failed. Here each item's
end is kept, and written as Step Functions does it: SUCCEEDED_0.json and FAILED_0.json beside the
manifest, each an array of child executions. Knows nothing of what the items are.
https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html
"""

import json
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration.itemprocessor import (
    distributed_item_processor_worker as workers,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_map.result_writer.resource_eval import (  # noqa: E501
    resource_eval_s3 as writers,
)
from moto.stepfunctions.parser.asl.eval.program_state import ProgramError

from local_aws.replacing import replace

Worker = workers.DistributedItemProcessorWorker


def install(stack: ExitStack) -> None:
    """Make moto keep and write the items' ends, until `stack` closes."""
    original_input, original_job = Worker._eval_input, Worker._eval_job

    def eval_input(worker: Any, env_frame: Any) -> None:
        original_input(worker, env_frame)
        worker.item_input = env_frame.states.get_input()  # after the ItemSelector

    def eval_job(worker: Any, env: Any, job: Any) -> None:
        began = datetime.now(UTC)
        original_job(worker, env, job)
        record, state = worker._map_run_record, env.program_state()
        failure = state.error if isinstance(state, ProgramError) else None
        child = _child(record, worker.item_input, job.job_output, failure, began)
        vars(record).setdefault("children", []).append(child)

    def put_object(env: Any, resource_runtime_part: Any, state_credentials: Any) -> None:
        parameters, _ = env.stack.pop(), env.stack.pop()
        client = writers.ResourceEvalS3._get_s3_client(resource_runtime_part, state_credentials)
        record = env.map_run_record_pool_manager.get_all()[-1]
        env.stack.append(_write(client, parameters["Bucket"], parameters["Prefix"], record))

    replace(stack, Worker, "_eval_input", eval_input)
    replace(stack, Worker, "_eval_job", eval_job)
    replace(stack, writers.ResourceEvalS3, "_handle_put_object", staticmethod(put_object))


def _child(
    record: Any, given: Any, output: Any, failure: Mapping[str, Any] | None, began: datetime
) -> dict[str, Any]:
    name = str(uuid.uuid4())
    machine = record.map_state_machine_arn
    ended: dict[str, Any] = {"Status": "SUCCEEDED", "Output": json.dumps(output)}
    if failure is not None or output is None:
        failure = failure or {}
        error, cause = failure.get("error"), failure.get("cause")
        ended = {"Status": "FAILED", "Error": error, "Cause": cause}
    return {
        "ExecutionArn": f"{machine.replace(':stateMachine:', ':execution:')}:{name}",
        "Input": json.dumps(given),
        "Name": name,
        "StartDate": began.isoformat(),
        "StateMachineArn": machine,
        "StopDate": datetime.now(UTC).isoformat(),
        **ended,
    }


def _write(client: Any, bucket: str, prefix: str, record: Any) -> dict[str, Any]:
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    folder += record.map_run_arn.rsplit(":", 1)[1]
    files: dict[str, list[dict[str, Any]]] = {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
    for status, written in files.items():
        children = [child for child in record.children if child["Status"] == status]
        if children:
            key, body = f"{folder}/{status}_0.json", json.dumps(children).encode()
            client.put_object(Bucket=bucket, Key=key, Body=body)
            written.append({"Key": key, "Size": len(body)})
    manifest = {
        "DestinationBucket": bucket,
        "MapRunArn": record.map_run_arn,
        "ResultFiles": files,
    }
    key = f"{folder}/manifest.json"
    client.put_object(Bucket=bucket, Key=key, Body=json.dumps(manifest).encode())
    details = {"Bucket": bucket, "Key": key}
    return {"MapRunArn": record.map_run_arn, "ResultWriterDetails": details}
