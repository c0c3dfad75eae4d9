#!/usr/bin/env bash
# The distribution as a user gets it: a wheel that is built of the source archive, in an environment without the
# checkout, which borrows the other packages of $PYTHON. Called by `make package`.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
PYTHON=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON")
checkout=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$PYTHON" -m build --no-isolation --outdir "$work/dist" . >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }

# The same bytes again, elsewhere, of the source archive.
mkdir "$work/again" && tar xzf "$work"/dist/*.tar.gz -C "$work/again"
"$PYTHON" -m build --no-isolation --outdir "$work/second" "$work"/again/* >"$work/build.log" 2>&1 ||
    { cat "$work/build.log"; exit 1; }
(cd "$work/dist" && sha256sum ./*) >"$work/sums"
(cd "$work/second" && sha256sum --check --quiet "$work/sums")

"$PYTHON" -m venv --without-pip "$work/clean"
clean=$work/clean/bin/python
folder() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
folder "$PYTHON" >"$(folder "$clean")/below.pth" # what is installed there; nothing that is editable
"$PYTHON" -m pip --python "$clean" install --quiet --no-deps --ignore-installed "$work"/dist/*.whl

cd "$work"
export PATH=$work/clean/bin:$PATH PYTHONPATH=
"$clean" - "$work" <<'PYTHON_CODE'
import sys
from importlib.metadata import entry_points
from importlib.resources import files

import inrcodec
from inrcodec.layers.base.latent import models

assert inrcodec.__file__.startswith(sys.argv[1]), inrcodec.__file__
for name in ("py.typed", "plugins/napari.yaml", "plugins/sample.inrv"):
    assert files("inrcodec").joinpath(name).is_file(), name
assert inrcodec.decode(files("inrcodec") / "plugins" / "sample.inrv", threads=1).shape == (29, 512, 512)
assert all(models.load(name, bytes.fromhex(known.sha256)) for name, known in models.manifests().items())
for group in ("xarray.backends", "zarr.codecs", "numcodecs.codecs"):
    (point,) = entry_points(group=group, name="inrv")
    point.load()
PYTHON_CODE
inrv-enc "$checkout/tests/data/mr-t1.nii.gz" t1.inrv --lossless --quiet --modality MR
inrv-dec --test t1.inrv
inrv info t1.inrv --json >facts && grep -q '"shape"' facts
inrv serve --help >page
cat >consumer.py <<'PYTHON_CODE'
import inrcodec

blob: bytes = inrcodec.encode("t1.nii.gz", max_error=2)
volume: inrcodec.Volume = inrcodec.decode_volume(blob, quality="preview")
shape: tuple[int, int, int] = volume.shape
PYTHON_CODE
"$PYTHON" -m mypy --strict --python-executable "$clean" consumer.py
echo 'inrcodec.encode("t1.nii.gz", max_eror=2)' >>consumer.py
if "$PYTHON" -m mypy --strict --python-executable "$clean" consumer.py >wrong; then
    echo "the types of the package do not reach its users"
    exit 1
fi
grep -q max_eror wrong
echo "package: 1 passed, 0 failed"
