"""The fixtures of the emulator's own tests: an empty local AWS."""

from tests.local_aws.conftest import cloud, runtime_dir, start

__all__ = ["cloud", "runtime_dir", "start"]
