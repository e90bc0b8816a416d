"""What the layers hold: its list, its notices; and that no other zip is taken for one of ours."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import Bundle
from deploy import layers, model_layer, sbom
from deploy.place import FUNCTIONS
from deploy.wheels import HOST_RUNTIME, host_arch
from tests.deploy.account import difference
from tests.deploy.deployer import ARTIFACTS, NAME, ROOT, Account, Hooks

FOLDERS = [row.folder for row in FUNCTIONS]
NOTICE = re.compile(r"licen[cs]e|notice|copying", re.IGNORECASE)
# Their wheels name a licence and have no text of it.
WITHOUT_A_TEXT = {"midirenderer", "tokenizers"}


# Each lock, and the file whose pins it has.
LOCKS = {
    path.relative_to(ROOT): path.with_suffix(".txt")
    for path in sorted(ROOT.glob("[!.]*/*requirements.lock"))
}
# They have what the named packages need in turn.
WHOLE_TREES = {Path("local_run/requirements.lock")}


def layer_of(folder: str) -> tuple[zipfile.ZipFile, dict[str, Any], Path]:
    """The real layer, which ./test.sh has built; its bill of materials; where the bill lies."""
    packed = layers.build(ROOT / folder, HOST_RUNTIME, host_arch(), ROOT / "build")
    beside = packed.path.with_name(sbom.file_name(packed.path.stem))
    archive = zipfile.ZipFile(packed.path)
    return archive, json.loads(archive.read(f"sbom/{sbom.file_name(folder)}")), beside


def locked(lock: Path) -> dict[str, tuple[str, set[str]]]:
    """The version of each package in a lock, and the hashes of its files."""
    parts = re.split(r"^(?=\w)", (ROOT / lock).read_text(), flags=re.MULTILINE)
    found = {}
    for part in parts[1:]:
        name, _, version = part.split()[0].partition("==")
        found[name.lower()] = version, set(re.findall(r"--hash=sha256:(\w{64})", part))
    return found


def pinned(path: Path) -> dict[str, str]:
    """The version of each package that a requirements file names, by itself or by another file."""
    text = path.read_text()
    pins = re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)
    found = {name.lower(): version for name, version in pins}
    for other in re.findall(r"^-r (\S+)", text, re.MULTILINE):
        found |= pinned(path.parent / other)
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_a_lock_has_the_pins_of_its_requirements_and_hashes_and_names_no_index(lock: Path) -> None:
    found, wanted = locked(lock), pinned(LOCKS[lock])
    assert len(wanted) > 2
    assert {name: found[name][0] for name in wanted} == wanted
    assert lock in WHOLE_TREES or {*found} == {*wanted}
    assert all(hashes for _, hashes in found.values())
    line = re.compile(r"[\w.-]+==\S+( ; [^;]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [
        text for text in (ROOT / lock).read_text().splitlines() if not line.fullmatch(text)
    ] == []


def test_all_locks_and_requirements_have_the_same_version_of_a_package() -> None:
    wanted = [pinned(ROOT / "requirements.txt"), *(pinned(path) for path in LOCKS.values())]
    wanted += [{name: v for name, (v, _) in locked(lock).items()} for lock in LOCKS]
    versions: dict[str, set[str]] = {}
    for pins in wanted:
        for name, version in pins.items():
            versions.setdefault(name.replace("_", "-"), set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_bill_lists_each_package_with_its_wheel_and_its_licence(folder: str) -> None:
    _, bill, beside = layer_of(folder)
    assert json.loads(beside.read_text()) == bill
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    libraries = [each for each in bill["components"] if each["type"] == "library"]
    pins = locked(Path(folder) / "requirements.lock")
    assert {each["name"].lower() for each in libraries} == {*pins}
    for each in libraries:
        version, hashes = pins[each["name"].lower()]
        assert each["version"] == version
        assert each["purl"] == each["bom-ref"] == f"pkg:pypi/{each['name'].lower()}@{version}"
        (wheel,) = each["hashes"]
        assert wheel["alg"] == "SHA-256" and wheel["content"] in hashes
        (licence,) = each["licenses"]
        words = licence.get("expression") or licence["license"]["name"]
        assert words != sbom.NOT_STATED and len(words) < 80
    files = {each["name"] for each in bill["components"] if each["type"] == "file"}
    assert files == {path.name for path in (ROOT / folder).glob("stand_ins/*.py")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_package_keeps_its_licence_and_its_notices(folder: str) -> None:
    archive, bill, _ = layer_of(folder)
    names = archive.namelist()
    for each in bill["components"]:
        own = re.escape(each["name"]).replace("\\-", "[-_]")
        inside = re.compile(rf"python/{own}(-[\w.]+\.dist-info)?/(.*/)?[^/]*$", re.IGNORECASE)
        texts = [n for n in names if inside.match(n) and NOTICE.search(n) and n[-3:] != "pyc"]
        with_text = each["type"] == "file" or each["name"] in WITHOUT_A_TEXT
        assert bool(texts) != with_text, (each["name"], texts)
    if folder == "generate_tokens":
        assert "python/onnxruntime/ThirdPartyNotices.txt" in names


@pytest.mark.parametrize("folder", FOLDERS)
def test_time_zones_are_in_the_layer_since_lambdas_system_may_have_none(folder: str) -> None:
    assert "python/tzdata/zoneinfo/Europe/Berlin" in layer_of(folder)[0].namelist()


def test_the_model_has_a_bill_with_its_id_and_what_its_card_says(tmp_path: Path) -> None:
    bundle = ROOT / "layers" / "model"
    first = model_layer.build(bundle, tmp_path, tmp_path)
    archive = zipfile.ZipFile(first.path)
    bill = json.loads(archive.read("sbom/model.cdx.json"))
    assert json.loads((tmp_path / "model.cdx.json").read_text()) == bill
    named = {f"model/{component['name']}" for component in bill["components"]}
    assert named == {*archive.namelist()} - {"sbom/model.cdx.json"}
    (graph,) = (each for each in bill["components"] if each["name"] == "model.onnx")
    assert (graph["type"], graph["name"]) == ("machine-learning-model", "model.onnx")
    assert graph["version"] == Bundle.load(bundle).model_id
    assert graph["licenses"] == [{"license": {"name": "CC BY-SA 4.0"}}]
    assert {"model/ATTRIBUTION.md", "model/MODEL_CARD.md"} <= {*archive.namelist()}
    assert not [name for name in archive.namelist() if "weights" in name]
    again = model_layer.build(bundle, tmp_path, tmp_path)
    assert again == first  # the same bytes, so that it is not published again


# --- what is taken for ours


def test_a_version_with_our_description_and_another_content_is_not_used(made: Account) -> None:
    functions = made.aws.client("lambda")
    before = made.state()
    for kind in ("model", "save-deps"):
        (ours,) = functions.list_layer_versions(LayerName=f"{NAME}-{kind}")["LayerVersions"]
        functions.publish_layer_version(
            LayerName=f"{NAME}-{kind}",
            Description=ours["Description"],
            Content={"ZipFile": b"PK\5\6" + bytes(18)},
        )
    lines = made.deploy()
    said = "says that it is the same but is another zip"
    # Of the model the newest version counts; of packages ours is still found.
    assert [line for line in lines if said in line and "version 2" in line]
    assert f"layer {NAME}-model: version 3" in "\n".join(lines)
    assert made.models() == ["3", "3"]
    changed = difference(before, made.state())
    assert not [line for line in changed if line.startswith("function") and "save-deps" in line]
    functions.delete_layer_version(LayerName=f"{NAME}-save-deps", VersionNumber=1)
    lines = made.deploy()
    assert f"layer {NAME}-save-deps: version 3" in "\n".join(lines)
    assert made.deploy()[-1] == "changes: 0"


def test_a_zip_that_was_changed_on_its_way_is_not_used(empty: Account) -> None:
    s3 = empty.aws.client("s3")

    def replace() -> None:
        for listed in s3.list_objects_v2(Bucket=ARTIFACTS, Prefix="layers/").get("Contents", []):
            s3.put_object(Bucket=ARTIFACTS, Key=listed["Key"], Body=b"PK\5\6" + bytes(18))

    hooks = Hooks(answers={"lambda PublishLayerVersion": replace}, in_turn=True)
    done = empty.run(hooks=hooks)
    assert done.code == 1
    assert "is not the zip that was sent to s3://" in done.err
    assert empty.state()["function"] == {}


def test_a_distribution_without_our_tag_is_neither_changed_nor_deleted(up: Account) -> None:
    front = up.aws.client("cloudfront")
    (listed,) = front.list_distributions()["DistributionList"]["Items"]
    front.untag_resource(Resource=listed["ARN"], TagKeys={"Items": ["installation"]})
    before = up.state()["distribution"]
    away = ("--destroy", "--delete-music")
    for options in ((), ("--no-site",), ("--site",), away):
        done = up.run(*options, answer=f"{NAME}\n")
        assert done.code == 1
        assert f"{listed['Id']} looks like it but has no tag installation = {NAME}" in done.err
    assert difference(before, up.state()["distribution"]) == []
    tag = {"Items": [{"Key": "installation", "Value": NAME}]}
    front.tag_resource(Resource=listed["ARN"], Tags=tag)
    assert up.deploy()[-1] == "changes: 0"


# --- the example of a workflow


def test_the_workflow_asks_each_week_about_what_is_locked_and_names_actions_by_commit() -> None:
    import yaml

    text = (ROOT / "deploy" / "github-workflow.yml").read_text()
    # A tag of an action can be moved to other code, a commit cannot.
    used = re.findall(r"uses: (\S+)", text)
    assert len(used) >= 5
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []
    workflow = yaml.safe_load(text)
    jobs, when = workflow["jobs"], workflow[True]  # YAML's "on"
    assert {*when} == {"push", "schedule"}
    assert "if" not in jobs["audit"] and jobs["test"]["if"] == "github.event_name == 'push'"
    asked = {*re.findall(r"-r (\S+)", jobs["audit"]["steps"][-1]["run"])}
    assert asked == {str(lock.relative_to(ROOT)) for lock in ROOT.glob("[!.]*/*.lock")}
