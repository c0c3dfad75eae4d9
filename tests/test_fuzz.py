"""Of any input comes a result or an error of the package: a short run of `fuzz`, always the same."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package of tests is no part of what is installed

from fuzz import forge, node
from fuzz.oracle import Wrong, judged, soon
from fuzz.targets import FOUND, TARGETS, of_earlier_findings, vectors

pytestmark = pytest.mark.usefixtures("small_model")

RUNS = 25  # inputs of each target
NAMES = [name for name in TARGETS if name != "javascript" or node.is_there()]


@pytest.mark.parametrize("name", NAMES)
def test_inputs_of_earlier_findings_end_as_they_may(name: str) -> None:
    for path in of_earlier_findings(name):
        judged(name, TARGETS[name].run, path.read_bytes())  # imports what it needs
        assert judged(name, TARGETS[name].run, path.read_bytes()) is None, path.name


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs_end_as_they_may(name: str) -> None:
    kind, random = TARGETS[name], Random(26)
    seeds = kind.seeds()
    judged(name, kind.run, seeds[0])
    for _ in range(RUNS):
        data = kind.mutate(random.choice(seeds), seeds, random)
        finding = judged(name, kind.run, data)
        assert finding is None, (finding, data.hex())


def test_forged_files_reach_what_lies_behind_the_checksums() -> None:
    random, refused = Random(1), 0
    for _ in range(300):
        message = ""
        try:
            TARGETS["container"].run(forge.forged(random.choice(vectors()), vectors(), random))
        except Exception as error:
            message = str(error)
        refused += "checksum" in message
    assert refused < 60


def test_a_seed_names_an_input() -> None:
    made = [[forge.forged(vectors()[3], vectors(), Random(seed)) for seed in range(9)] for _ in range(2)]
    assert made[0] == made[1] and len(set(made[0])) > 5


def test_the_oracle_sees_errors_time_and_memory() -> None:
    def raises(data: bytes) -> int:
        raise ValueError(data)

    def warns(data: bytes) -> int:
        import warnings

        warnings.warn("a value overflowed", RuntimeWarning, stacklevel=1)
        return 0

    def grows(data: bytes) -> int:
        return 0 * len(bytearray(b"1") * (400 << 20))

    for target, kind in ((raises, "ValueError"), (warns, "RuntimeWarning"), (grows, "memory")):
        finding = judged("none", target, b"")
        assert finding is not None and finding.kind.startswith(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fuzz.oracle.SECONDS", 1e-6)
        finding = judged("none", lambda data: soon(lambda: sum(range(10**6)) * 0), b"")
    assert finding is not None and finding.kind.startswith("Wrong")


def test_what_differs_is_a_finding() -> None:
    import numpy as np

    from fuzz.targets import same

    same("threads", None, None)
    with pytest.raises(Wrong, match="voxels differ"):
        same("threads", np.zeros(3), np.ones(3))
    with pytest.raises(Wrong, match="one is refused"):
        same("threads", np.zeros(3), None)


def test_the_inputs_of_findings_are_small() -> None:
    assert sum(path.stat().st_size for path in FOUND.iterdir()) <= 2 << 20
