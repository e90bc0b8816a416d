"""The evaluation of policy documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.policy import Decision, PolicyError, decide
from tests.local_aws.conftest import allow

GET = ("s3:GetObject", "arn:aws:s3:::music/prompts/a.mid")


def decided(*statements: dict[str, Any], **context: str) -> Decision:
    return decide([{"Statement": list(statements)}], *GET, context)


@pytest.mark.parametrize(
    ("actions", "resources", "expected"),
    [
        ("s3:GetObject", "arn:aws:s3:::music/prompts/a.mid", Decision.ALLOWED),
        ("s3:getobject", "arn:aws:s3:::music/prompts/*", Decision.ALLOWED),
        (["s3:Get*"], ["arn:aws:s3:::other/*", "arn:aws:s3:::music/*"], Decision.ALLOWED),
        ("*", "*", Decision.ALLOWED),
        ("s3:GetObject", "arn:aws:s3:::music", Decision.NOT_ALLOWED),
        ("s3:GetObject", "arn:aws:s3:::music/prompts/?.mi", Decision.NOT_ALLOWED),
        ("s3:GetObject", "arn:aws:s3:::music/prompts/?.mid", Decision.ALLOWED),
        ("s3:GetObject", "arn:aws:s3:::MUSIC/*", Decision.NOT_ALLOWED),
        ("s3:PutObject", "*", Decision.NOT_ALLOWED),
    ],
)
def test_actions_and_resources(
    actions: str | list[str], resources: str | list[str], expected: Decision
) -> None:
    assert decided(allow(actions, resources)) == expected


def test_dot_in_a_pattern_is_a_dot() -> None:
    assert decided(allow("s3:GetObject", "arn:aws:s3:::music/prompts/aXmid")) != Decision.ALLOWED
    assert decided(allow("s3:GetObject", "arn:aws:s3:::music/prompts/a.mid")) == Decision.ALLOWED


def test_deny_wins_wherever_it_stands() -> None:
    deny = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    assert decided(allow("*", "*"), deny) == Decision.DENIED
    assert decided(deny, allow("*", "*")) == Decision.DENIED


def test_not_action_and_not_resource_exclude() -> None:
    but_get = {"Effect": "Allow", "NotAction": "s3:Get*", "Resource": "*"}
    but_prompts = {"Effect": "Allow", "Action": "*", "NotResource": "*/prompts/*"}
    but_runs = {"Effect": "Allow", "Action": "*", "NotResource": "*/runs/*"}
    assert decided(but_get) == Decision.NOT_ALLOWED
    assert decided(but_prompts) == Decision.NOT_ALLOWED
    assert decided(but_runs) == Decision.ALLOWED


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ({"StringEquals": {"k": "a"}}, "a", True),
        ({"StringEquals": {"k": ["b", "a"]}}, "a", True),
        ({"StringEquals": {"K": "a"}}, "a", True),
        ({"StringEquals": {"k": "a"}}, "b", False),
        ({"StringEquals": {"k": "a"}}, None, False),
        ({"StringNotEquals": {"k": "a"}}, None, True),
        ({"StringNotEquals": {"k": ["a", "b"]}}, "b", False),
        ({"StringEqualsIfExists": {"k": "a"}}, None, True),
        ({"StringEqualsIfExists": {"k": "a"}}, "b", False),
        ({"StringEqualsIgnoreCase": {"k": "A"}}, "a", True),
        ({"StringLike": {"k": "prompts/*"}}, "prompts/a", True),
        ({"StringNotLike": {"k": "prompts/*"}}, "prompts/a", False),
        ({"ArnLike": {"k": "arn:aws:*:x"}}, "arn:aws:s3:x", True),
        ({"Bool": {"k": False}}, "false", True),
        ({"Bool": {"k": "true"}}, "false", False),
        ({"Null": {"k": "true"}}, None, True),
        ({"Null": {"k": "true"}}, "a", False),
        ({"StringEquals": {"k": "a"}, "StringLike": {"k": "b*"}}, "a", False),
    ],
)
def test_conditions(condition: dict[str, Any], value: str | None, holds: bool) -> None:
    context = {} if value is None else {"k": value}
    result = decided(allow("*", "*", Condition=condition), **context)
    assert (result == Decision.ALLOWED) == holds


@pytest.mark.parametrize(
    "statement",
    [
        allow("*", "*", Condition={"NumericLessThan": {"s3:max-keys": "10"}}),
        allow("*", "arn:aws:s3:::${aws:username}/*"),
        allow("*", "*", NotPrincipal="*"),
    ],
)
def test_what_is_not_known_is_an_error(statement: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        decided(statement)


def test_trust_policy_names_the_service() -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": ["a.com", "b.com"]}, "Action": "sts:*"}
    for service, expected in (("b.com", Decision.ALLOWED), ("c.com", Decision.NOT_ALLOWED)):
        asked = decide([{"Statement": trust}], "sts:AssumeRole", "x", {}, ("Service", service))
        assert asked == expected


@given(st.text(alphabet="ab*?.[]{}$^|()\\+", max_size=12).filter(lambda text: "${" not in text))
def test_text_without_wildcards_matches_itself_only(text: str) -> None:
    statement = allow("x:y", text)
    asked = decide([{"Statement": statement}], "x:y", text, {})
    assert asked == Decision.ALLOWED  # with wildcards too: each matches itself
    if not {"*", "?"} & set(text):
        longer = decide([{"Statement": statement}], "x:y", text + "a", {})
        assert longer == Decision.NOT_ALLOWED
