#!/usr/bin/env bash
# Packs what a machine with a GPU but without package registries lacks, for transfers of at most 64 MiB each.
#
#   bash tests/gpu/pack.sh [FOLDER]        default: .gpu
#   there: bash tests/gpu/unpack.sh FOLDER SITE; PYTHONPATH=$PWD:SITE python3 -m tests.gpu.visit
#
# The machine has Python 3.12 on x86-64 with torch, triton, numpy, pyarrow and pytest. Here pip reaches a registry.
# Smaller than the wheels: Ray without its Java, RLlib and dashboard; DALI without the device code of other
# architectures than sm_90 (tests/gpu/slim_fatbin.py), other Pythons and headers; everything through xz.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(realpath -m "${1:-.gpu}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"
rm -f "$folder"/site.tar.xz.* "$folder"/SHA256 "$folder"/*.whl

pinned() { grep -ih "^$1==" requirements.lock requirements-dev.lock; }
fetch() {
  python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d "$work/wheels" "$@"
}
needed=()
for name in av webdataset braceexpand nvidia-dali-cuda130 libcst optree nvtx makefun six gast astunparse \
  ray pydantic pydantic_core annotated-types typing-inspection jsonschema jsonschema-specifications referencing \
  rpds-py tensorboardX; do
  needed+=("$(pinned "$name")")
done
fetch "${needed[@]}"
python3 -m pip download --quiet --no-deps -d "$work/wheels" "$(pinned submitit)"
python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$work/site" --python-version 3.12 \
  --implementation cp --only-binary=:all: --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 \
  --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
  "$work"/wheels/*.whl

site="$work/site"
rm -rf "$site"/ray/{jars,rllib,llm,workflow,dashboard/client} "$site"/nvidia/dali/{include,test} "$site"/bin "$site"/av/include
find "$site" -name '*.cpython-3*.so' ! -name '*-312-*' -delete
mapfile -t libraries < <(find "$site/nvidia" "$site/av" "$site"/av.libs "$site/nvtx" "$site/libcst" -name '*.so*' -type f)
python3 tests/gpu/slim_fatbin.py "${libraries[@]}"
strip --strip-unneeded "${libraries[@]}" 2>/dev/null || true
python3 -m pip download --quiet --no-deps -d "$folder" pysdtw==0.0.5  # imported from the wheel; numba is there
tar -C "$site" -cf - . | xz -T0 -6 | split -b 60M - "$folder/site.tar.xz."
(cd "$folder" && sha256sum site.tar.xz.* >SHA256)
ls -l "$folder"
