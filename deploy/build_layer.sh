#!/usr/bin/env bash
# Builds one dependency layer from the pins in FUNCTION_FOLDER/requirements.txt:
#
#   deploy/build_layer.sh FUNCTION_FOLDER RUNTIME ARCH OUT_ZIP
#   deploy/build_layer.sh generate_tokens python3.13 x86_64 build/generate-deps.zip
#
# Writes OUT_ZIP and, beside it, OUT_ZIP.json with its digest and sizes. Builds for any runtime and
# architecture from any machine, because only ready-made wheels are taken. Files in
# FUNCTION_FOLDER/stand_ins/ take the place of packages that the function can do without. When
# neither these nor the pins nor this script have changed since OUT_ZIP was written, it does nothing.
set -euo pipefail

PYTHON=${PYTHON:-python3}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() {
  printf '%s: %s\n' "deploy/build_layer.sh" "$*" >&2
  exit 1
}

[[ $# -eq 4 ]] || die "usage: deploy/build_layer.sh FUNCTION_FOLDER RUNTIME ARCH OUT_ZIP"
requirements=$1/requirements.txt stand_ins=$1/stand_ins runtime=$2 arch=$3 out=$4
[[ -f $requirements ]] || die "$requirements is missing: it lists what the layer holds"
[[ $runtime =~ ^python3\.[0-9]+$ ]] || die "RUNTIME must look like python3.13, not '$runtime'"
case $arch in
  x86_64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) die "ARCH must be x86_64 or arm64, not '$arch'" ;;
esac
command -v "$PYTHON" >/dev/null || die "$PYTHON is missing: install Python 3, or set PYTHON"

# Only the version of Python that will run the bytecode can compile it: this Python, or else another
# that is installed. Each is asked for its version, because version managers leave commands that start
# nothing.
compiler=
for candidate in "$PYTHON" "$runtime"; do
  version=$("$candidate" -c 'import sys; print("python%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  if [[ $version == "$runtime" ]]; then
    compiler=$candidate
    break
  fi
done

shopt -s nullglob
key=$(cat "$requirements" "$stand_ins"/*.py "$here/build_layer.sh" "$here/pack.py" - <<<"$runtime $arch ${compiler:+bytecode}" |
  "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [[ -f $out && -f $out.json ]] && grep -q "\"key\": \"$key\"" "$out.json"; then
  exit 0
fi

"$PYTHON" -m pip --version >/dev/null 2>&1 ||
  die "$PYTHON has no pip: install it (Debian and Ubuntu: apt install python3-pip), or activate a virtual environment"

mkdir -p "$(dirname "$out")"
stage=$(mktemp -d "$(dirname "$out")/stage.XXXXXX")
trap 'rm -rf "$stage"' EXIT
trap 'exit 130' INT TERM

# With manylinux2014 alone, pip finds no onnxruntime and an old miditok. --no-deps, because the pins are
# the complete list: a package that the function can do without is not listed.
"$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps \
  --target "$stage/python" --only-binary=:all: --implementation cp \
  --python-version "${runtime#python}" \
  --platform "manylinux2014_$machine" --platform "manylinux_2_27_$machine" --platform "manylinux_2_28_$machine" \
  --requirement "$requirements" 2>"$stage/pip.log" || {
  grep -v '^WARNING' "$stage/pip.log" >&2 || true
  die "pip could not install $requirements for $runtime on $arch: see the lines above. Is a package index reachable, and has each pin a wheel for this Python?"
}

# Remove what the functions neither import nor load through their imports. *.dist-info stays, since
# miditok and mido ask importlib.metadata for versions. The onnxruntime module has the engine linked
# in, so libonnxruntime.so is only a second copy for C programs.
cd "$stage/python"
rm -rf bin test tests \
  onnxruntime/{transformers,quantization,tools,datasets,backend} onnxruntime/capi/libonnxruntime.so* \
  onnxruntime/{ThirdPartyNotices.txt,Privacy.md} \
  numpy/{f2py,distutils,_pyinstaller,doc} numpy/_core/{include,lib} numpy/random/lib
find . -type d \( -name tests -o -name test -o -name __pycache__ \) -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.[ach]' \) -delete
cd "$OLDPWD"

for stand_in in "$stand_ins"/*.py; do
  name=${stand_in##*/}
  [[ ! -e $stage/python/${name%.py} && ! -e $stage/python/$name ]] ||
    die "$requirements lists what $stand_in stands in for: delete one of the two"
  cp "$stand_in" "$stage/python/"
done

if [[ $compiler ]]; then
  # unchecked-hash: the bytecode is valid whatever modification times unpacking gives the sources. The
  # paths in it are those on Lambda.
  "$compiler" -m compileall -q -j 2 --invalidation-mode unchecked-hash -s "$stage" -p /opt "$stage/python"
else
  printf 'deploy/build_layer.sh: there is no %s here to compile the layer of %s: each cold start compiles what it imports, %s\n' \
    "$runtime" "$1" "which doubles its CPU time. Install $runtime, or choose a runtime whose Python is here" >&2
fi

facts=$("$PYTHON" "$here/pack.py" "$stage/layer.zip" "python=$stage/python")
mv "$stage/layer.zip" "$out"
printf '%s\n' "{\"key\": \"$key\", ${facts#\{}" >"$stage/facts.json"
mv "$stage/facts.json" "$out.json" # last: a layer without it counts as not built
"$PYTHON" -c 'import json, sys
facts = json.load(open(sys.argv[1]))
print("built the layer of %s for %s, %s: %.0f MB unzipped, %.0f MB zipped"
      % (*sys.argv[2:], facts["unzipped_bytes"] / 1e6, facts["zip_bytes"] / 1e6))' "$out.json" "$1" "$runtime" "$arch"
