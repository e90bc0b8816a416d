"""The bucket of the tests of publishing."""

from __future__ import annotations

import pytest

from tests.versioned_s3 import VersionedS3


@pytest.fixture
def s3() -> VersionedS3:
    return VersionedS3()
