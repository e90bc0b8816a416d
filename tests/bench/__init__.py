"""Faults, a year and damaged input. Fake credentials are set before anything imports boto3."""

import tests.conftest  # noqa: F401
