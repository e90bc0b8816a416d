"""Deploys an installation, rolls it back to the model before, rebuilds its site, or destroys it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from contract.bundle import Bundle
from deploy import layers, model_layer, soundfont, trial
from deploy.aws import Aws
from deploy.errors import DeployError
from deploy.functions import Function, Layer
from deploy.half_made import complete_days
from deploy.installation import Installation, Settings, installation, settings_of
from deploy.lock import holding_the_lock
from deploy.options import Options, check_name
from deploy.pack import Packed, pack
from deploy.place import FUNCTIONS, SHARED_FOLDERS, Place
from deploy.rebuild import rebuild
from deploy.resource import Walk, at_once

LARGEST_BYTES = 262_144_000  # Lambda's limit for a function and its layers, unzipped


class Deployment:
    """One run of deploy.sh: in one place, for one caller."""

    def __init__(self, options: Options, aws: Aws) -> None:
        """Asks AWS who is calling. Raises DeployError, and botocore's errors, as all of this."""
        check_name(options.name, aws.region)
        caller = aws.client("sts").get_caller_identity()
        if not caller["Arn"].startswith("arn:aws:"):
            raise DeployError(
                f"this deploys to the partition aws only, not to {caller['Arn'].split(':')[1]}: "
                "the ARNs in its policies begin with arn:aws:"
            )
        self._options, self._aws, self._say = options, aws, aws.say
        self._place = Place(options.name, caller["Account"], aws.region)
        endpoint = aws.client("sts").meta.endpoint_url
        at = "" if endpoint.endswith(".amazonaws.com") else f", at {endpoint}"
        self._where = f"account {caller['Account']}, region {aws.region}, as {caller['Arn']}{at}"

    def deploy(self) -> dict[str, Any]:
        """The deployed names."""
        doing = "a dry run of deploying" if self._options.dry_run else "deploying"
        self._say(f"{doing} {self._place.name} to {self._where}")
        walk = self._walk()
        build = self._options.root / "build"
        build.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="deploy.", dir=build) as work, self._lock(walk):
            settings = settings_of(self._options, self._aws, self._place)
            packed = self._pack(settings, Path(work))
            new = bool(walk.changes)  # the bucket for the lock, so far
            whole = installation(
                self._aws, self._place, self._definition, settings, packed, new=new
            )
            walk.ensure_all(whole.steps)
            outputs = self._outputs(whole)
            if self._options.outputs is not None:
                self._options.outputs.write_text(json.dumps(outputs, indent=2) + "\n")
            self._try_out(walk, whole)
        if not walk.dry:
            self._summary(settings, whole)
        self._finish(walk)
        return outputs

    def rollback(self) -> None:
        """Both functions back on the model version before theirs.

        If the two differ, an earlier rollback was interrupted: it is completed, with the older of
        the two versions for both.
        """
        place = self._place
        self._say(f"rolling {place.name} back in {self._where}")
        whole = self._installation()
        if whole.artifacts.read() is None:
            raise DeployError(f"--rollback: there is no installation {place.name} here")
        walk = self._walk()
        with self._lock(walk):
            self._put_back(walk, whole)
            if walk.changes:
                self._try_out(walk, whole)
        self._finish(walk)

    def rebuild_site(self) -> None:
        """All pages, feeds and sounds again."""
        self._say(f"the site of {self._place.name} in {self._where}")
        self._require_installed()
        if self._options.dry_run:
            self._say("a dry run, nothing was rebuilt")
        else:
            rebuild(self._aws, self._place)

    def complete_days(self, ask: Callable[[str], str]) -> None:
        """The days that have files but no record."""
        self._say(f"the days of {self._place.name} in {self._where}")
        self._require_installed()
        complete_days(self._aws, self._place, ask, dry=self._options.dry_run)

    def destroy(self, ask: Callable[[str], str]) -> None:
        """List everything and delete it, if the answer of `ask` is the installation's name."""
        options, place = self._options, self._place
        self._say(f"installation {place.name} in {self._where}:")
        whole = self._installation()
        listing = Walk(lambda line: self._say(f"  {line}"), dry=True)
        listing.destroy_all(whole.steps)
        if not listing.changes:
            self._say("there is nothing to delete")
        if options.dry_run or not listing.changes:
            self._finish(listing)
            return
        question = (
            f"Delete all of these, for good? Type the name of the installation, {place.name}: "
        )
        if ask(question) != place.name:
            raise DeployError(f"nothing was deleted: the answer was not {place.name!r}")
        walk = self._walk()
        if whole.artifacts.read() is None:
            walk.destroy_all(whole.steps)
        else:
            with self._lock(walk):
                walk.destroy_all(whole.steps)
        self._finish(walk)

    # --- parts of a deployment

    def _walk(self) -> Walk:
        """A trial becomes due with the first change."""
        due = None
        if self._options.smoke and self._options.action != "destroy":
            due = partial(trial.remember, self._aws, self._place)
        return Walk(self._say, dry=self._options.dry_run, before_first_write=due)

    def _require_installed(self) -> None:
        machine = {"stateMachineArn": self._place.state_machine_arn}
        if self._aws.read("stepfunctions", "describe_state_machine", **machine) is None:
            raise DeployError(
                f"--{self._options.action}: there is no installation {self._place.name} here"
            )

    def _lock(self, walk: Walk) -> AbstractContextManager[None]:
        """Who only looks needs no lock."""
        if walk.dry:
            return nullcontext()
        artifacts = self._installation().artifacts

        def make_bucket() -> None:
            artifacts.create()
            walk.change(f"{artifacts.label}: created")

        return holding_the_lock(self._aws, self._place, make_bucket)

    @property
    def _definition(self) -> Path:
        return self._options.root / "statemachine.asl.json"

    def _installation(self) -> Installation:
        keep_music = not self._options.delete_music
        return installation(self._aws, self._place, self._definition, keep_music=keep_music)

    def _pack(self, settings: Settings, work: Path) -> dict[str, Packed]:
        """The zips of layers and functions, by name. Nothing has been written to AWS before."""
        root = self._options.root
        folders = {row.layers[0]: row.folder for row in FUNCTIONS}

        def layer(kind: str) -> Packed:
            if kind == "model":
                return model_layer.build(self._options.model, work, root / "build")
            if kind == "sounds":
                return self._pack_sounds(work)
            return layers.build(
                root / folders[kind], settings.runtime, settings.arch, root / "build", self._say
            )

        kinds = [*folders, "model", "sounds"]
        packed = dict(zip(kinds, at_once(layer, kinds), strict=True))
        for row in FUNCTIONS:
            names = (*SHARED_FOLDERS, row.folder)
            # Not compressed: these few kilobytes must be the same bytes with every zlib. Otherwise
            # another machine would upload the same code again.
            content = {name: root / name for name in names}
            for folder in row.data:
                beside = (path for path in (root / folder).iterdir() if path.is_file())
                content |= {f"{folder}/{path.name}": path for path in beside}
            packed[row.name] = pack(work / f"{row.name}.zip", content, ".py", stored=True)
            sizes = {name: packed[name].unzipped_bytes for name in (*row.layers, row.name)}
            parts = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items())
            if sum(sizes.values()) > LARGEST_BYTES:
                raise DeployError(
                    f"{row.name} would be {sum(sizes.values()) / 1e6:.0f} MB unzipped ({parts}); "
                    f"Lambda takes {LARGEST_BYTES / 1e6:.0f} MB: use a smaller model or sound "
                    f"bank, or drop packages from {row.folder}/requirements.txt"
                )
            self._say(f"size {row.name}: {sum(sizes.values()) / 1e6:.1f} MB unzipped ({parts})")
        return packed

    def _pack_sounds(self, work: Path) -> Packed:
        options = self._options
        programs = soundfont.programs_of(Bundle.load(options.model))
        if options.soundfont is None:
            kept = soundfont.kept(self._aws, self._place, programs)
            if kept is not None:
                return kept
        own = options.soundfont if isinstance(options.soundfont, Path) else None
        return soundfont.build(own, programs, work, options.root / "build", self._say)

    def _try_out(self, walk: Walk, whole: Installation) -> None:
        """The trial piece, if something was changed or an earlier trial has not succeeded."""
        if walk.dry or not self._options.smoke:
            return
        if not walk.changes and not trial.is_due(self._aws, self._place):
            self._say("nothing changed, so no trial piece")
            return
        advice = ""
        if self._model_before(whole.layers["model"], whole.functions) is not None:
            advice = "; './deploy.sh --rollback' goes back to the model before"
        trial.compose(self._aws, self._place, whole.roles, advice)
        if whole.site.wanted:  # its address, or the look of its pages, may be new
            rebuild(self._aws, self._place)
        trial.forget(self._aws, self._place)

    def _put_back(self, walk: Walk, whole: Installation) -> None:
        model = whole.layers["model"]
        used = self._models_in_use(model, whole.functions)
        older = min(used) if len(set(used)) > 1 else self._model_before(model, whole.functions)
        if older is None:
            raise DeployError(
                f"--rollback: model version {min(used)} is the oldest that is kept: there is none "
                "before it"
            )
        for function in whole.functions:
            have = function.read() or {}
            arns = [layer["Arn"] for layer in have["Layers"]]
            wanted = [
                f"{arn.rpartition(':')[0]}:{older}" if _is_of(model, arn) else arn for arn in arns
            ]
            if arns != wanted:
                if not walk.dry:
                    walk.about_to_write()
                    function.configure(Layers=wanted)
                walk.change(f"{function.label}: model version {older}")

    def _model_before(self, model: Layer, functions: list[Function]) -> int | None:
        """The newest kept version of the model that is older than those in use."""
        used = min(self._models_in_use(model, functions))
        return max((v["Version"] for v in model.read() if v["Version"] < used), default=None)

    def _models_in_use(self, model: Layer, functions: list[Function]) -> list[int]:
        """The model version of each function."""
        versions = []
        for function in functions:
            have = function.read()
            if have is None:
                raise DeployError(f"--rollback: there is no {function.label}: deploy first")
            used = [layer["Arn"] for layer in have.get("Layers", []) if _is_of(model, layer["Arn"])]
            if not used:
                raise DeployError(
                    f"--rollback: {function.label} has no {model.label}: deploy again"
                )
            versions.append(int(used[0].rpartition(":")[2]))
        return versions

    # --- what is told at the end

    def _outputs(self, whole: Installation) -> dict[str, Any]:
        place = self._place
        return {
            "account": place.account,
            "region": place.region,
            "name": place.name,
            "music_bucket": place.bucket("music"),
            "state_machine_arn": place.state_machine_arn,
            "schedule": f"{place.name}-daily",
            "functions": [f"{place.name}-{row.name}" for row in FUNCTIONS],
            "site": whole.site.url if whole.site.id else None,
        }

    def _summary(self, settings: Settings, whole: Installation) -> None:
        place, region = self._place, self._place.region
        console = f"https://{region}.console.aws.amazon.com"
        states = f"{console}/states/home?region={region}"
        cloudwatch = f"{console}/cloudwatch/home?region={region}"
        soon = "" if whole.site.ready else " (takes a few minutes to come up)"
        rows = [
            ("pieces", f"s3://{place.bucket('music')}/neural-net/"),
            ("state machine", place.state_machine_arn),
            *(
                ("function", place.arn("lambda", f"function:{place.name}-{row.name}"))
                for row in FUNCTIONS
            ),
            ("schedule", f"{place.name}-daily, {settings.schedule}, {settings.timezone}"),
            *([("site", whole.site.url + soon)] if whole.site.url else []),
            ("alarms", place.topic_arn),
            ("console", f"{states}#/statemachines/view/{place.state_machine_arn}"),
            ("dashboard", f"{cloudwatch}#dashboards/dashboard/{place.dashboard}"),
            ("a month", "about a cent; see 'What it costs' in docs/deploy.md"),
        ]
        self._say("")
        for what, where in rows:
            self._say(f"{what:<15}{where}")

    def _finish(self, walk: Walk) -> None:
        dry = "a dry run, nothing was changed; " if self._options.dry_run else ""
        self._say(f"{dry}changes: {len(walk.changes)}")


def _is_of(layer: Layer, arn: str) -> bool:
    return arn.split(":")[-2] == layer.name
