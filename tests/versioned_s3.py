"""S3 in memory, with versions, conditional writes and lists: for tests of many writers at once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError


@dataclass
class VersionedS3:
    """All versions of each key, the newest last. Each call is done by one thread at a time.

    `before` is called with the name of an operation and its key before it is done.
    """

    objects: dict[str, list[bytes]] = field(default_factory=dict)
    headers: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: Callable[[str, str], None] = lambda _operation, _key: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get_object(self, Key: str, VersionId: str | None = None, **_: Any) -> Any:  # noqa: N803
        self.before("get_object", Key)
        with self._lock:
            body, answer = self._found(Key, VersionId)
            return answer | {"Body": Body(body)}

    def head_object(self, Key: str, **_: Any) -> Any:  # noqa: N803
        self.before("head_object", Key)
        with self._lock:
            return self._found(Key, None)[1]

    def put_object(self, Key: str, Body: bytes, **request: Any) -> Any:  # noqa: N803
        self.before("put_object", Key)
        with self._lock:
            versions = self.objects.setdefault(Key, [])
            now = etag(versions[-1]) if versions else None
            if "IfMatch" in request and request["IfMatch"] != now:
                raise refused("PreconditionFailed", 412)
            if request.get("IfNoneMatch") == "*" and now is not None:
                raise refused("PreconditionFailed", 412)
            versions.append(Body)
            kept = ("ContentType", "CacheControl", "Metadata")
            self.headers[Key] = {name: request[name] for name in kept if name in request}
            return {"VersionId": str(len(versions))}

    def list_objects_v2(self, Prefix: str, StartAfter: str = "", **_: Any) -> Any:  # noqa: N803
        self.before("list_objects_v2", Prefix)
        with self._lock:
            keys = sorted(key for key, versions in self.objects.items() if versions)
            found = [key for key in keys if key.startswith(Prefix) and key > StartAfter]
            return {"Contents": [{"Key": key, **self._found(key, None)[1]} for key in found]}

    def _found(self, key: str, version_id: str | None) -> tuple[bytes, dict[str, Any]]:
        versions = self.objects.get(key, [])
        if not versions:
            raise refused("NoSuchKey", 404)
        if version_id is not None and not version_id.isdigit():
            raise refused("InvalidArgument", 400)
        version = len(versions) if version_id is None else int(version_id)
        if not 0 < version <= len(versions):
            raise refused("NoSuchVersion", 404)
        body = versions[version - 1]
        answer = {"ContentLength": len(body), "ETag": etag(body), "VersionId": str(version)}
        when = {"LastModified": datetime(2026, 1, 1, tzinfo=UTC), "Metadata": {}}
        return body, answer | when | self.headers.get(key, {})


@dataclass
class Body:
    content: bytes

    def read(self) -> bytes:
        return self.content


def refused(code: str, status: int) -> ClientError:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "an operation")


def etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
