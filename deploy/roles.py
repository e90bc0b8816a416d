"""Roles: who may assume them, and the one inline policy that each has.

The documents are deploy/documents/*.trust.json and *.policy.json; docs/deploy.md gives the reason
for each of their statements.
"""

from __future__ import annotations

import json
import time
from typing import Any

from deploy.aws import Aws
from deploy.place import ROLES, Place
from deploy.resource import Resource

POLICY = "least-privilege"


class Role(Resource):
    """The role `kind` of an installation, within `boundary` (an ARN; None leaves what it has).

    `id` is that of the deployed role, once it was read or made: a role that is deleted and made
    anew under its name has another. `changed_at` is when this process last changed it, by
    time.monotonic(); services learn of it a while later.
    """

    def __init__(self, aws: Aws, place: Place, kind: str, boundary: str | None = None) -> None:
        self._aws, self._tags, self._boundary = aws, place.tags_as("Key", "Value"), boundary
        self.name = place.role(kind)
        self.label = f"role {self.name}"
        self._trust = place.document(f"{ROLES[kind]}.trust.json")
        self._policy = place.document(f"{kind}.policy.json")
        self.id: str | None = None
        self.changed_at: float | None = None

    def read(self) -> dict[str, Any] | None:
        """Its description, with its "policy", and its "boundary" if it has one."""
        answer = self._aws.read("iam", "get_role", RoleName=self.name)
        if answer is None:
            return None
        self.id = answer["Role"]["RoleId"]
        policy = self._aws.read("iam", "get_role_policy", RoleName=self.name, PolicyName=POLICY)
        return {
            **answer["Role"],
            "policy": policy and policy["PolicyDocument"],
            "boundary": answer["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
        }

    def differs(self, have: dict[str, Any] | None) -> list[str]:
        if have is None:
            return ["created", "policy"]
        same = {
            "trust": have["AssumeRolePolicyDocument"] == self._trust,
            "permissions boundary": self._boundary in (None, have["boundary"]),
            "policy": have["policy"] == self._policy,
        }
        return [what for what, is_same in same.items() if not is_same]

    def write(self, part: str, have: dict[str, Any] | None) -> str | None:
        trust, policy = json.dumps(self._trust), json.dumps(self._policy)
        bound = {"PermissionsBoundary": self._boundary} if self._boundary else {}
        calls: dict[str, tuple[str, dict[str, Any]]] = {
            "created": (
                "create_role",
                {"AssumeRolePolicyDocument": trust, "Tags": self._tags, **bound},
            ),
            "trust": ("update_assume_role_policy", {"PolicyDocument": trust}),
            "permissions boundary": ("put_role_permissions_boundary", bound),
            "policy": ("put_role_policy", {"PolicyName": POLICY, "PolicyDocument": policy}),
        }
        operation, arguments = calls[part]
        answer = self._aws.write("iam", operation, RoleName=self.name, **arguments)
        if part == "created":
            self.id = answer["Role"]["RoleId"]
        self.changed_at = time.monotonic()
        return None

    def delete(self, have: dict[str, Any]) -> None:
        self._aws.remove("iam", "delete_role_policy", RoleName=self.name, PolicyName=POLICY)
        self._aws.remove("iam", "delete_role", RoleName=self.name)
