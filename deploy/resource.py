"""A resource, and the walk over a list of them: compare, write what differs, say so, count it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, ClassVar, TypeVar

from deploy import children
from deploy.aws import Aws, stopping

Thing = TypeVar("Thing")
Result = TypeVar("Result")


class Resource:
    """A thing in the account. Each kind says how it is read, compared, written and deleted."""

    label: str  # as people read it: "role midi-archive-us-east-1-schedule"

    def read(self) -> Any:
        """What is deployed, in whatever form `differs` takes; None if there is none."""
        raise NotImplementedError

    def differs(self, have: Any) -> list[str]:
        """What is to be written, in this order; nothing if `have` is as it should be."""
        raise NotImplementedError

    def write(self, part: str, have: Any) -> str | None:
        """Write one part of what differs. A text is told in place of `part`."""
        raise NotImplementedError

    def delete(self, have: Any) -> None:
        """Delete it; it is no error if it is gone."""
        raise NotImplementedError

    def listed(self, have: Any) -> list[str]:
        """What people read, a line each, before they agree to `delete`."""
        return [] if have is None else [self.label]


class Described(Resource):
    """A resource that one call describes and one call writes. `calls` are the names of those that
    describe, create, update and delete it.
    """

    service: ClassVar[str]
    calls: ClassVar[tuple[str, str, str, str]]
    changed: ClassVar[str] = "set"  # what people read of an update

    def __init__(self, aws: Aws, label: str, key: dict[str, Any], want: dict[str, Any]) -> None:
        """`key` names it in each call but create; `want` is what is compared and written."""
        self.aws, self.label, self.key, self.want = aws, label, key, want
        self.new: dict[str, Any] = {}  # what create takes besides `want`

    def read(self) -> Any:
        return self.aws.read(self.service, self.calls[0], **self.key)

    def differs(self, have: Any) -> list[str]:
        if have is None:
            return ["created"]
        same = all(_same(have.get(name), value) for name, value in self.want.items())
        return [] if same else [self.changed]

    def write(self, part: str, have: Any) -> str | None:
        if have is None:
            self.aws.write(self.service, self.calls[1], **self.want, **self.new)
        else:
            self.aws.write(self.service, self.calls[2], **self.key, **self.want)
        return None

    def delete(self, have: Any) -> None:
        self.aws.remove(self.service, self.calls[3], **self.key)


def _same(have: Any, want: Any) -> bool:
    """JSON in strings is compared as what it says; some services leave an empty list out."""
    if isinstance(have, str) and isinstance(want, str) and want.startswith("{"):
        return bool(json.loads(have or "null") == json.loads(want))
    if isinstance(have, dict) and isinstance(want, dict):
        return have.keys() == want.keys() and all(_same(have[k], v) for k, v in want.items())
    return bool((have or []) == (want or []))


class Walk:
    """One walk over an installation's resources. A dry walk writes nothing and says the same.

    `changes` has a line for each change. `before_first_write` is called once.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        dry: bool = False,
        before_first_write: Callable[[], None] | None = None,
    ) -> None:
        self.dry = dry
        self.changes: list[str] = []
        self._say, self._before_first_write = say, before_first_write
        self._lock = threading.Lock()

    def change(self, line: str) -> None:
        """Tell and count a change. Every line about a change comes from here."""
        with self._lock:
            self.changes.append(line)
            self._say(line)

    def about_to_write(self) -> None:
        """To be called before each write."""
        with self._lock:
            if self._before_first_write is not None:
                self._before_first_write()
            self._before_first_write = None

    def ensure_all(self, steps: Iterable[Iterable[Resource]]) -> None:
        """Step after step; the resources of one step do not need each other."""
        for step in steps:
            self._each(self._ensure, step)

    def destroy_all(self, steps: list[list[Resource]]) -> None:
        """The same steps backwards."""
        for step in reversed(steps):
            self._each(self._destroy, step)

    def _each(self, do: Callable[[Resource], None], step: Iterable[Resource]) -> None:
        """What is only listed is in the order of the list."""
        if self.dry:
            for resource in step:
                do(resource)
        else:
            at_once(do, step)

    def _ensure(self, resource: Resource) -> None:
        have = resource.read()
        for part in resource.differs(have):
            told = None
            if not self.dry:
                self.about_to_write()
                told = resource.write(part, have)
            self.change(f"{resource.label}: {told or part}")

    def _destroy(self, resource: Resource) -> None:
        have = resource.read()
        lines = resource.listed(have)
        if lines and not self.dry:
            resource.delete(have)
        for line in lines:
            self.change(line if self.dry else f"{line}: deleted")


def at_once(do: Callable[[Thing], Result], things: Iterable[Thing]) -> list[Result]:
    """`do` of each thing, in threads; the results in order. Raises the first error at the end, with
    the others as notes; only Ctrl-C and the like are raised at once.
    """
    pool = ThreadPoolExecutor(max_workers=8)
    futures = [pool.submit(do, thing) for thing in things]
    try:
        wait(futures)
    except BaseException:
        stopping.set()
        children.end_all()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    errors = [error for future in futures if (error := future.exception()) is not None]
    for other in errors[1:]:
        errors[0].add_note(str(other))
    return [future.result() for future in futures]
