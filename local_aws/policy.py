"""Evaluates IAM policy documents: actions, resources, conditions, principals; pure functions.

An explicit Deny wins, then an Allow; otherwise the action is not allowed. A condition key has one
value. What this evaluator does not support (some condition operators, policy variables,
NotPrincipal) raises PolicyError rather than being ignored. Depends on neither moto nor requests.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any


class PolicyError(ValueError):
    """A policy uses what this evaluator does not support."""


class Decision(Enum):
    ALLOWED = "allowed"
    NOT_ALLOWED = "not allowed"
    DENIED = "explicitly denied"


def decide(
    documents: Iterable[Mapping[str, Any]],
    action: str,
    resource: str,
    context: Mapping[str, str],
    principal: tuple[str, str] | None = None,
) -> Decision:
    """The decision of all policies together on `action` ("s3:GetObject") on `resource` (an ARN).

    `context`: condition keys and their values, such as {"s3:prefix": "prompts/"}. `principal`,
    such as ("Service", "lambda.amazonaws.com"), is for policies that name principals (trust and
    bucket policies); identity policies have none. Raises PolicyError.
    """
    decision = Decision.NOT_ALLOWED
    for document in documents:
        for statement in _listed(document["Statement"]):
            if not _concerns(statement, action, resource, context, principal):
                continue
            # A Deny decides at once; after an Allow, a later statement may still deny.
            if statement["Effect"] == "Deny":
                return Decision.DENIED
            decision = Decision.ALLOWED
    return decision


def _concerns(
    statement: Mapping[str, Any],
    action: str,
    resource: str,
    context: Mapping[str, str],
    principal: tuple[str, str] | None,
) -> bool:
    if "NotPrincipal" in statement:
        raise PolicyError("NotPrincipal is not known here: see local_aws/policy.py")
    if "Principal" in statement and not _names(statement["Principal"], principal):
        return False
    # NotAction and NotResource match everything but what they list.
    if "NotAction" in statement:
        about_action = not _any_matches(statement["NotAction"], action, ignore_case=True)
    else:
        about_action = _any_matches(statement["Action"], action, ignore_case=True)
    if "NotResource" in statement:
        about_resource = not _any_matches(statement["NotResource"], resource)
    else:  # a trust policy has no Resource: it is about the role it belongs to
        about_resource = _any_matches(statement.get("Resource", "*"), resource)
    return about_action and about_resource and _conditions_hold(statement, context)


def _names(element: object, principal: tuple[str, str] | None) -> bool:
    if element == "*":
        return True
    if not isinstance(element, Mapping):
        return False
    if "*" in _listed(element.get("AWS", [])):
        return True
    return principal is not None and principal[1] in _listed(element.get(principal[0], []))


def _conditions_hold(statement: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    lowered = {name.lower(): value for name, value in context.items()}
    return all(
        _condition_holds(operator, lowered.get(key.lower()), [str(v) for v in _listed(expected)])
        for operator, keys in statement.get("Condition", {}).items()
        for key, expected in keys.items()
    )


def _condition_holds(operator: str, value: str | None, expected: list[str]) -> bool:
    if operator == "Null":
        return (value is None) == (expected[0].lower() == "true")
    name, if_exists = operator.removesuffix("IfExists"), operator.endswith("IfExists")
    if value is None and if_exists:
        return True
    # A missing key fails the condition, unless its operator is negated or ends in IfExists. Of
    # several expected values one must match; with a negated operator none may.
    negated = "Not" in name
    compare = _COMPARISONS.get(name.replace("Not", ""))
    if compare is None:
        raise PolicyError(f"condition operator {operator} is not known: see local_aws/policy.py")
    if value is None:
        return negated
    return negated != any(compare(pattern, value) for pattern in expected)


def _equal(expected: str, value: str) -> bool:
    return expected == value


def _equal_ignoring_case(expected: str, value: str) -> bool:
    return expected.lower() == value.lower()


def _like(pattern: str, value: str) -> bool:
    return _pattern(pattern).fullmatch(value) is not None


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": _equal,
    "StringEqualsIgnoreCase": _equal_ignoring_case,
    "StringLike": _like,
    "ArnEquals": _like,  # AWS: the two behave identically
    "ArnLike": _like,
    "Bool": _equal_ignoring_case,
}


def _any_matches(patterns: str | list[str], value: str, ignore_case: bool = False) -> bool:
    if ignore_case:
        return any(_like(pattern.lower(), value.lower()) for pattern in _listed(patterns))
    return any(_like(pattern, value) for pattern in _listed(patterns))


@lru_cache(maxsize=4096)
def _pattern(text: str) -> re.Pattern[str]:
    if "${" in text:
        raise PolicyError(f"policy variables are not known here ({text}): see local_aws/policy.py")
    # IAM's wildcards: * is any text, also across : and /, and ? is one character.
    escaped = re.escape(text).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(escaped, re.DOTALL)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
