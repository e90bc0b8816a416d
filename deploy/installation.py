"""The installation: all its resources, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deploy.aws import Aws
from deploy.chain import Schedule, StateMachine
from deploy.errors import DeployError
from deploy.functions import Function, Layer, LogGroup, OldVersions
from deploy.operations import Dashboard, Topic, alarms
from deploy.options import Options, check_schedule, first_runtime
from deploy.pack import Packed
from deploy.place import FUNCTIONS, LAYERS, ROLES, Place
from deploy.resource import Resource
from deploy.roles import Role
from deploy.site import Distribution, OriginAccess
from deploy.storage import Bucket, BucketPolicy, Queue


@dataclass(frozen=True)
class Settings:
    """What a deployment can be set to. The defaults are those of the first one."""

    schedule: str = "cron(0 6 * * ? *)"
    timezone: str = "UTC"
    memory: int = 1769  # MB; one whole vCPU
    runtime: str = field(default_factory=first_runtime)
    arch: str = "x86_64"
    alarm_email: str | None = None
    permissions_boundary: str | None = None
    site: bool = False  # in public


def settings_of(options: Options, aws: Aws, place: Place) -> Settings:
    """Settings as the options say, else as they are deployed, else the defaults.

    Raises DeployError if a schedule that is asked for has days without a start in its zone.
    """
    deployed: dict[str, Any] = {}
    # A run that was killed can have left one function, or one role, of them.
    functions = (Function(aws, place, row).read() for row in FUNCTIONS)
    if function := next(filter(None, functions), None):
        deployed |= {"memory": function["MemorySize"], "runtime": function["Runtime"]}
        deployed["arch"] = function["Architectures"][0]
    if schedule := Schedule(aws, place).read():
        deployed["schedule"] = schedule["ScheduleExpression"]
        deployed["timezone"] = schedule["ScheduleExpressionTimezone"]
    if role := next(filter(None, (Role(aws, place, kind).read() for kind in ROLES)), None):
        deployed["permissions_boundary"] = role["boundary"]
    if site := Distribution(aws, place).read():  # a disabled one is half taken away
        deployed["site"] = site["DistributionConfig"]["Enabled"]
    given = {name: getattr(options, name) for name in asdict(Settings())}
    chosen = {name: v for name, v in given.items() if v is not None}
    settings = Settings(**{**deployed, **chosen})
    try:
        check_schedule(settings.schedule, settings.timezone)
    except DeployError as error:
        if {"schedule", "timezone"} & chosen.keys():
            raise
        aws.say(f"the schedule stays as it is deployed, but: {error}")
    return settings


@dataclass(frozen=True)
class Installation:
    """Its resources by kind. `steps` is the list."""

    steps: list[list[Resource]]
    artifacts: Bucket
    roles: list[Role]
    functions: list[Function]
    layers: dict[str, Layer]
    site: Distribution


def installation(
    aws: Aws,
    place: Place,
    definition: Path,
    settings: Settings | None = None,
    packed: Mapping[str, Packed] | None = None,
    *,
    keep_music: bool = True,
    new: bool = False,
) -> Installation:
    """Everything, step after step. The resources of one step do not need each other.

    `definition` is the state machine's file. `settings`, and the zips of layers and functions, are
    needed to deploy it, not to destroy it. `new`: this run has made its first bucket.
    """
    chosen, zips = settings or Settings(), packed or {}
    compatible = {
        "CompatibleRuntimes": [chosen.runtime],
        "CompatibleArchitectures": [chosen.arch],
    }
    roles = {kind: Role(aws, place, kind, chosen.permissions_boundary) for kind in ROLES}
    layers = {kind: Layer(aws, place, kind, zips.get(kind), compatible) for kind in LAYERS}
    access = OriginAccess(aws, place, wanted=chosen.site)
    site = Distribution(aws, place, access, wanted=chosen.site)
    functions = [
        Function(
            *(aws, place, row, roles[row.name], [layers[kind] for kind in row.layers]),
            *(zips.get(row.name), asdict(chosen), site if row.folder == "midi_save" else None),
        )
        for row in FUNCTIONS
    ]
    artifacts, music = Bucket(aws, place, "artifacts"), Bucket(aws, place, "music", keep=keep_music)
    # It is taken away as it is destroyed, backwards: nobody may read, then nothing is there.
    in_public: list[list[Resource]] = [[access], [site], [BucketPolicy(aws, place, music, site)]]
    watching = alarms(aws, place, chosen.schedule)
    steps: list[list[Resource]] = [
        [artifacts],  # deleted last, since it holds the lock
        [music, BucketPolicy(aws, place, artifacts)],
        *(in_public if chosen.site or settings is None else reversed(in_public)),
        [
            *roles.values(),
            *(LogGroup(aws, place, row) for row in FUNCTIONS),
            Queue(aws, place, new=new),
            Topic(aws, place, chosen.alarm_email),
            *layers.values(),
        ],
        *_one_after_the_other(functions),  # so that one of them always has the settings
        [StateMachine(aws, place, definition), *watching, Dashboard(aws, place, watching)],
        [Schedule(aws, place, chosen.schedule, chosen.timezone)],
        [OldVersions(layer) for layer in layers.values()],
    ]
    return Installation(steps, artifacts, [*roles.values()], functions, layers, site)


def _one_after_the_other(functions: list[Function]) -> list[list[Resource]]:
    return [[function] for function in functions]
