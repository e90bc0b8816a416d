"""Zips are unpacked as Lambda does it."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from local_aws.packages import PackageError, PackageStore, remove_tree, unpack
from tests.local_aws.conftest import zipped


def ignore(line: str) -> None:
    """A log that nobody reads."""


@pytest.mark.parametrize(
    ("zipped_mode", "mode"),
    [(0o664, 0o444), (0o775, 0o555), (0o640, 0o000), (0o000, 0o444)],  # 0: a tool without modes
)
def test_modes_are_those_for_others_without_writing(
    tmp_path: Path, zipped_mode: int, mode: int
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "x")
        archive.infolist()[0].external_attr = zipped_mode << 16
    unpack(buffer.getvalue(), tmp_path, ignore)

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_dates_are_kept_for_the_sake_of_bytecode(tmp_path: Path) -> None:
    unpack(zipped({"a": "x"}), tmp_path, ignore)
    assert (tmp_path / "a").stat().st_mtime == 1767323046  # 2026-01-02 03:04:06 UTC


def test_links_stay_links(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("lib.so")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "lib.so.1")
    unpack(buffer.getvalue(), tmp_path, ignore)
    assert (tmp_path / "lib.so").readlink() == Path("lib.so.1")


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out"])
def test_path_out_of_the_package_is_refused(tmp_path: Path, name: str) -> None:
    target = tmp_path / "in"
    target.mkdir()
    with pytest.raises(PackageError, match="leads out"):
        unpack(zipped({name: "x"}), target, ignore)
    assert not (tmp_path / "out").exists()


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="not a zip"):
        unpack(b"PK?", tmp_path, ignore)


def test_same_zips_are_unpacked_once_and_order_matters(tmp_path: Path) -> None:
    store = PackageStore(tmp_path, ignore)
    one, two = zipped({"x": "1"}), zipped({"x": "2"})

    assert store.unpacked([one, two]) == store.unpacked([one, two])
    assert (store.unpacked([one, two]) / "x").read_text() == "2"
    assert (store.unpacked([two, one]) / "x").read_text() == "1"


def test_mount_points_are_made(tmp_path: Path) -> None:
    store = PackageStore(tmp_path, ignore)
    assert (store.unpacked([], ["hostedtoolcache/Python"]) / "hostedtoolcache/Python").is_dir()


def test_read_only_trees_are_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "file").touch()
    (tree / "inner").chmod(0o555)
    remove_tree(tree)
    remove_tree(tree)  # a missing one is no error
    assert not tree.exists()
