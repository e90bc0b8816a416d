"""What is deployed, and under which names: the table of functions, a place, and its documents.

Depends on neither AWS nor what is already deployed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = Path(__file__).with_name("documents")


@dataclass(frozen=True)
class FunctionRow:
    """A row of the table of functions. Its role and its log group have the same name."""

    name: str
    folder: str  # of its code, and of the requirements.lock of its layer
    timeout_s: int
    layers: tuple[str, ...]
    data: tuple[str, ...] = ()  # folders whose files are packed beside the code


FUNCTIONS = (
    FunctionRow("generate-tokens", "generate_tokens", 120, ("generate-deps", "model")),
    FunctionRow("midi-save", "midi_save", 600, ("save-deps", "model", "sounds"), ("site",)),
)
SHARED_FOLDERS = ("contract", "music")  # in the code of every function
LAYERS = tuple(dict.fromkeys(layer for row in FUNCTIONS for layer in row.layers))
ROLES = {  # role: the service that assumes it
    **{row.name: "lambda" for row in FUNCTIONS},
    "statemachine": "states",
    "schedule": "scheduler",
}


@dataclass(frozen=True)
class Place:
    """An installation: its name, account and region. The names of all that it has follow."""

    name: str
    account: str
    region: str

    @property
    def tags(self) -> dict[str, str]:
        return {"installation": self.name, "project": "midi-archive-lambda"}

    def tags_as(self, key: str, value: str) -> list[dict[str, str]]:
        """The tags as a list, which services want with other names for key and value."""
        return [{key: name, value: text} for name, text in self.tags.items()]

    def bucket(self, kind: str) -> str:
        """The bucket for "music" or "artifacts". Bucket names are shared by all of AWS."""
        return f"{self.name}-{kind}-{self.account}-{self.region}"

    def role(self, kind: str) -> str:
        """A role's name. Roles belong to the whole account, so the name holds the region."""
        return f"{self.name}-{self.region}-{kind}"

    @property
    def dashboard(self) -> str:
        """Dashboards belong to the whole account, too."""
        return f"{self.name}-{self.region}"

    @property
    def site(self) -> str:
        """So do distributions and origin access controls, in CloudFront."""
        return f"{self.name}-{self.region}-site"

    def role_arn(self, kind: str) -> str:
        return f"arn:aws:iam::{self.account}:role/{self.role(kind)}"

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    @property
    def state_machine_arn(self) -> str:
        return self.arn("states", f"stateMachine:{self.name}")

    @property
    def topic_arn(self) -> str:
        return self.arn("sns", f"{self.name}-alarms")

    @property
    def queue_arn(self) -> str:
        return self.arn("sqs", f"{self.name}-dead-letters")

    def values(self) -> dict[str, Any]:
        """What the placeholders of the documents stand for."""
        return {
            "Name": self.name,
            "Account": self.account,
            "Region": self.region,
            "MusicBucket": self.bucket("music"),
            "StateMachineArn": self.state_machine_arn,
            "TopicArn": self.topic_arn,
            "QueueArn": self.queue_arn,
            **{
                f"{row.name.title().replace('-', '')}Arn": self.arn(
                    "lambda", f"function:{self.name}-{row.name}"
                )
                for row in FUNCTIONS
            },
        }

    def document(self, file: str | Path, **more: Any) -> Any:
        """A JSON file, by default of deploy/documents/, with its placeholders filled in."""
        return render(json.loads((DOCUMENTS / file).read_text()), self.values() | more)


def render(value: Any, values: Mapping[str, Any]) -> Any:
    """The same JSON with ${Name} replaced by values["Name"]. KeyError for an unknown name.

    A string that is nothing but a placeholder becomes the value itself, be it a number or a list.
    """
    if isinstance(value, dict):
        return {render(key, values): render(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [render(item, values) for item in value]
    if not isinstance(value, str):
        return value
    if alone := re.fullmatch(r"\$\{(\w+)\}", value):
        return values[alone[1]]
    return re.sub(r"\$\{(\w+)\}", lambda found: str(values[found[1]]), value)
