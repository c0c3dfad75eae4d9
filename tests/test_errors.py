"""One root, one exit code for each kind of answer, and a tree that is drawn as it is."""

import ast
import re
from pathlib import Path

import dicom_maker
import numpy as np
import pytest

from inrcodec import errors, io
from inrcodec.errors import CorruptFile, InputError, InrvError
from inrcodec.io.dicom import pixels

PACKAGE = Path(errors.__file__).parent
EXIT_CODES = {
    "InrvError": 1,
    "UsageError": 2,
    "InputError": 3,
    "MissingExtra": 3,
    "IncompleteSeries": 10,
    "CorruptFile": 4,
    "UnsupportedFile": 5,
    "LimitExceeded": 6,
    "WriteError": 7,
    "ModelNotFound": 9,
    "TargetNotReached": 11,
    "FitFailed": 11,
}
CLASSES = {name: getattr(errors, name) for name in EXIT_CODES}


@pytest.mark.parametrize("kind", [EOFError, MemoryError])
def test_an_exception_that_says_nothing_is_named(tmp_path, monkeypatch, kind):
    """`cannot read the pixels of X: `, and then nothing."""

    def fail(*_, **__):
        raise kind

    dicom_maker.write_series(tmp_path / "series", dicom_maker.ramp())
    monkeypatch.setattr(pixels, "as_pixel_options", fail)
    with pytest.raises(InputError, match=f": {kind.__name__}$"):
        io.read(tmp_path / "series")
    np.save(tmp_path / "in.npy", np.zeros((2, 3, 4)))
    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(InputError, match=f": {kind.__name__}$"):
        io.read(tmp_path / "in.npy")


def test_every_class_is_in_the_table() -> None:
    found = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, InrvError)}
    assert found == set(EXIT_CODES)


@pytest.mark.parametrize("name", EXIT_CODES)
def test_exit_code(name: str) -> None:
    assert CLASSES[name].exit_code == EXIT_CODES[name]


@pytest.mark.parametrize("name", EXIT_CODES)
def test_drawn_tree_is_the_tree(name: str) -> None:
    assert errors.__doc__ is not None
    rows = re.findall(r"^    ([│├└─ ]*)(\w+) +(\d+) ", errors.__doc__, re.MULTILINE)
    drawn: dict[str, tuple[str | None, int]] = {}
    path: list[str] = []
    for lines, row, code in rows:
        path[len(lines) // 3 :] = [row]
        drawn[row] = (path[-2] if len(path) > 1 else None, int(code))
    parents = [base.__name__ for base in CLASSES[name].__bases__ if issubclass(base, InrvError)]
    assert drawn[name] == (parents[0] if parents else None, EXIT_CODES[name])


@pytest.mark.parametrize("name", sorted(set(EXIT_CODES) - {"MissingExtra", "CorruptFile"}))
def test_carries_the_value(name: str) -> None:
    error = CLASSES[name]("voxels are 7, use 8", value=7)
    assert (str(error), error.value) == ("voxels are 7, use 8", 7)


@pytest.mark.parametrize(
    ("remedy", "text"),
    [({}, "it ends early, get the file again"), ({"remedy": "wait"}, "it ends early, wait")],
)
def test_a_corrupt_file_has_a_remedy(remedy: dict[str, str], text: str) -> None:
    error = CorruptFile("it ends early", value=7, **remedy)
    assert (str(error), error.value) == (text, 7)


@pytest.mark.parametrize(
    ("option", "text"),
    [(None, "7 is not"), ("steps", "steps: 7 is not"), (("ratio", "size"), "ratio, size: 7 is not")],
)
def test_the_option_at_fault_comes_first(option: str | tuple[str, ...] | None, text: str) -> None:
    error = InrvError("7 is not", option=option)
    assert (str(error), error.message, error.option) == (text, "7 is not", option)


def test_a_fit_that_failed_is_not_a_missed_target() -> None:
    assert not issubclass(errors.FitFailed, errors.TargetNotReached)


def test_usage_error_is_a_value_error() -> None:
    assert issubclass(errors.UsageError, ValueError)


def test_missing_extra_says_how_to_install_it() -> None:
    error = errors.MissingExtra("needs SimpleITK", extra="itk")
    assert str(error) == "needs SimpleITK: pip install 'inrcodec[itk]'" and error.extra == "itk"


LIBRARY = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "cli" and path.name != "__main__.py"]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_message_of_the_library_names_a_flag(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for call in (node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc):
        words = [n.value for n in ast.walk(call) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        assert not re.search(r"(?<!\S)--[a-z]|\w=(True|UID)", " ".join(words)), words
