"""What informs people: the topic for alarms, the alarms, and the dashboard."""

from __future__ import annotations

import json
from typing import Any

from deploy.aws import Aws
from deploy.place import DOCUMENTS, FUNCTIONS, Place, render
from deploy.resource import Described
from deploy.schedule_expression import hours_without_a_piece

SLOW = 0.8  # of its time-out


class Topic(Described):
    """Sends alarms on, also to `email`. It is not encrypted with a key: CloudWatch may not use
    AWS's own, and one of ours would cost a dollar a month. Its messages name an alarm and hold no
    data.
    """

    service = "sns"
    calls = ("get_topic_attributes", "create_topic", "set_topic_attributes", "delete_topic")
    changed = "policy"

    def __init__(self, aws: Aws, place: Place, email: str | None = None) -> None:
        name, self._email = f"{place.name}-alarms", email
        policy = {"Policy": json.dumps(place.document("topic.policy.json"))}
        super().__init__(aws, f"topic {name}", {"TopicArn": place.topic_arn}, policy)
        self.new = {"Name": name, "Tags": place.tags_as("Key", "Value")}
        self._mails = (
            f"mails to {email}, once the address has been confirmed by the link in the first one"
        )

    def read(self) -> Any:
        """Its attributes, and whether our "email" is subscribed."""
        answer = super().read()
        if answer is None or self._email is None:
            return answer and answer["Attributes"]
        listed = self.aws.items("sns", "list_subscriptions_by_topic", "Subscriptions", **self.key)
        mailed = [subscription["Endpoint"] for subscription in listed]
        return answer["Attributes"] | {"email": self._email in mailed}

    def differs(self, have: Any) -> list[str]:
        mailed = self._email is None or (have or {}).get("email")
        return super().differs(have) + ([] if mailed else [self._mails])

    def write(self, part: str, have: Any) -> str | None:
        key, policy = self.key, self.want["Policy"]
        if part == "created":
            self.aws.write("sns", "create_topic", Attributes=self.want, **self.new)
        elif part == "policy":
            attribute = {"AttributeName": "Policy", "AttributeValue": policy}
            self.aws.write("sns", "set_topic_attributes", **key, **attribute)
        else:
            self.aws.write("sns", "subscribe", **key, Protocol="email", Endpoint=self._email)
        return None


class Alarm(Described):
    """An alarm of deploy/documents/alarms.json. Not every schedule suits each: see `wanted`."""

    service = "cloudwatch"
    calls = ("describe_alarms", "put_metric_alarm", "put_metric_alarm", "delete_alarms")

    def __init__(self, aws: Aws, place: Place, want: dict[str, Any], *, wanted: bool) -> None:
        self.wanted, name = wanted, want["AlarmName"]
        want = want | {"AlarmActions": [place.topic_arn], "OKActions": [place.topic_arn]}
        super().__init__(aws, f"alarm {name}", {"AlarmNames": [name]}, want)
        self.arn = place.arn("cloudwatch", f"alarm:{name}")
        # CloudWatch takes tags of new alarms only.
        self.new = {"Tags": place.tags_as("Key", "Value")}

    def read(self) -> Any:
        found = super().read()["MetricAlarms"]
        return found[0] if found else None

    def differs(self, have: Any) -> list[str]:
        if self.wanted:
            return super().differs(have)
        if have is None:
            return []
        return ["deleted, since CloudWatch cannot watch for pieces that come so rarely"]

    def write(self, part: str, have: Any) -> str | None:
        if not self.wanted:
            self.delete(have)
        else:
            new = self.new if have is None else {}
            self.aws.write("cloudwatch", "put_metric_alarm", **self.want, **new)
        return None


def alarms(aws: Aws, place: Place, schedule: str) -> list[Alarm]:
    """All alarms, in the order of the dashboard."""
    hours = hours_without_a_piece(schedule)
    documents = json.loads((DOCUMENTS / "alarms.json").read_text())
    values = place.values() | {"NoPieceHours": hours or 0}
    wants = [render(want, values) for want in documents["of the installation"]]
    for want in documents["of each function"]:
        for row in FUNCTIONS:
            slow_ms = round(SLOW * row.timeout_s * 1000)
            own = {"Function": row.name, "TimeoutS": row.timeout_s, "SlowMs": slow_ms}
            wants.append(render(want, values | own))
    not_wanted = () if hours else (f"{place.name}-no-piece",)
    return [Alarm(aws, place, want, wanted=want["AlarmName"] not in not_wanted) for want in wants]


class Dashboard(Described):
    """The dashboard, with the `alarms` that are wanted."""

    service = "cloudwatch"
    calls = ("get_dashboard", "put_dashboard", "put_dashboard", "delete_dashboards")

    def __init__(self, aws: Aws, place: Place, alarms: list[Alarm]) -> None:
        arns = [alarm.arn for alarm in alarms if alarm.wanted]
        body = json.dumps(place.document("dashboard.json", AlarmArns=arns))
        key = {"DashboardName": place.dashboard}
        super().__init__(aws, f"dashboard {place.dashboard}", key, {"DashboardBody": body})
        self.new = key

    def delete(self, have: Any) -> None:
        names = [self.key["DashboardName"]]
        self.aws.remove("cloudwatch", "delete_dashboards", DashboardNames=names)
