#!/bin/sh
# The tests as other machines would run them: no outcome of a fit may fail one. Words go to pytest.
#   PYTHON=.venv/bin/python tests/matrix.sh [tests/test_fit.py ...]
cd "$(dirname "$0")/.." || exit 1
failed=0

run() {
    echo "== $*"
    env "$@" "${PYTHON:-python}" -m pytest -q -n "$WORKERS" -p no:cacheprovider $TESTS || failed=1
}

TESTS="$*"
WORKERS=2
run ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Haswell OMP_NUM_THREADS=1
run ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Zen OMP_NUM_THREADS=1
WORKERS=0
run ATEN_CPU_CAPABILITY=avx2 OPENBLAS_CORETYPE=Haswell OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2
WORKERS=2
run INRCODEC_TEST_SEED=1000 ONEDNN_MAX_CPU_ISA=AVX2
exit $failed
