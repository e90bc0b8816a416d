"""Accounts on the embedded AWS, for the tests of the deployer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.deployer import Account, account, make_tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, bundle_dir_without_model: Path) -> Path:
    """A tree to deploy."""
    return make_tree(tmp_path_factory.mktemp("deploy") / "tree", bundle_dir_without_model)


@pytest.fixture
def empty(root: Path) -> Iterator[Account]:
    """An empty account."""
    with account(root) as at:
        yield at


@pytest.fixture
def made(empty: Account) -> Account:
    """A deployed account."""
    empty.deploy()
    return empty


@pytest.fixture
def up(empty: Account) -> Account:
    """A deployed account with a site."""
    empty.deploy("--site")
    return empty
