"""What formats of other distributions promise: they add endings, and break nothing."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from inrcodec.errors import InputError, UsageError, WriteError
from inrcodec.io import check_sink, read, write
from inrcodec.volume.volume import Volume

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)

MODULE = """
import numpy as np
from inrcodec.io import Format, atomic_write
from inrcodec.volume.volume import Volume

def read(path, *, spacing=None):
    words = path.read_text().split()
    sides = [int(word) for word in words[:3]]
    return Volume.from_array(np.array(words[3:], np.int16).reshape(sides), spacing=spacing)

def write(volume, path, *, force=False, provenance=None):
    words = [*volume.shape, *volume.array.ravel().tolist()]
    atomic_write(path, " ".join(map(str, words)).encode(), force)

class Other:
    @staticmethod
    def read(path):
        return "no volume"

WORDS = Format("words", __name__, (".words", ".w.txt"), read_options=("spacing",))
OBJECT = Format("object", Other, (".object",), sink=False)
HOLLOW = Format("hollow", "nowhere.to.be.found", (".hollow",))
NO_FORMAT = {"name": "x"}
NO_ENDING = Format("none", __name__, ())
CAPITAL = Format("capital", __name__, (".XYZ",))
TAKEN = Format("taken", __name__, (".nii",))
TAKEN_BEHIND = Format("taken", __name__, (".my.nii.gz",))
INRV = Format("taken", __name__, (".inrv",))
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution on the path that gives entry points to objects of a module."""

    def install(**points):
        site = tmp_path / "site"
        about = site / "fakeformats-1.0.dist-info"
        about.mkdir(parents=True)
        (site / "fakeformats.py").write_text(MODULE)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fakeformats\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (about / "entry_points.txt").write_text("\n".join(["[inrcodec.formats]", *lines, ""]))
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, "fakeformats", raising=False)
        return tmp_path

    yield install
    sys.modules.pop("fakeformats", None)


@pytest.mark.parametrize("name", ["a.words", "A.WORDS", "a.w.txt"])
def test_a_format_of_others_is_read_and_written(installed, name):
    folder = installed(words="fakeformats:WORDS")
    check_sink(folder / name)
    write(Volume.from_array(ARRAY), folder / name)
    volume = read(folder / name, spacing=(3, 2, 1), slices=slice(1, None))
    np.testing.assert_array_equal(volume.array, ARRAY[1:])
    assert volume.spacing == (3, 2, 1)
    with pytest.raises(WriteError, match="force"):
        check_sink(folder / name)
    with pytest.raises(UsageError, match="series: has no meaning for words"):
        read(folder / name, series="1")


def test_a_folder_may_be_of_a_format_of_others(installed):
    folder = installed(object="fakeformats:OBJECT")
    (folder / "a.object").mkdir()
    with pytest.raises(InputError, match="plug-in 'object' for object gave str, not a Volume"):
        read(folder / "a.object")
    with pytest.raises(UsageError, match="cannot tell what to write"):
        check_sink(folder / "b.object")


def test_a_plug_in_that_fails_is_named(installed):
    folder = installed(words="fakeformats:WORDS", hollow="fakeformats:HOLLOW")
    (folder / "a.words").write_text("2 3 4 1")
    (folder / "a.hollow").write_text("")
    with pytest.raises(InputError, match="plug-in 'words' for words failed: cannot reshape"):
        read(folder / "a.words")
    with pytest.raises(InputError, match="plug-in 'hollow' for hollow failed: No module"):
        read(folder / "a.hollow")


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("fakeformats:NO_FORMAT", "it is dict, not inrcodec"),
        ("fakeformats:NO_ENDING", "are no endings"),
        ("fakeformats:CAPITAL", "are no endings"),
        ("fakeformats:TAKEN", ".nii is a format of this package"),
        ("fakeformats:TAKEN_BEHIND", ".my.nii.gz is a format of this package"),
        ("fakeformats:INRV", ".inrv is a format of this package"),
        ("fakeformats:MISSING", "MISSING"),
        ("no_such_module:WORDS", "no_such_module"),
    ],
)
def test_a_bad_plug_in_is_left_out_by_its_name(installed, value, cause):
    folder = installed(bad=value, words="fakeformats:WORDS")
    with pytest.warns(RuntimeWarning, match=rf"plug-in 'bad' .* is left out: .*{cause}"):
        write(Volume.from_array(ARRAY), folder / "a.words")
    with pytest.warns(RuntimeWarning, match="'bad'"):
        np.testing.assert_array_equal(read(folder / "a.words").array, ARRAY)


def test_no_plug_in_is_imported_for_an_ending_that_is_known(installed):
    folder = installed(bad="fakeformats:TAKEN")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("a.npy", "a.nii", "dicom"):
            write(Volume.from_array(ARRAY), folder / name)
            np.testing.assert_array_equal(read(folder / name).array, ARRAY)
        assert read(next((folder / "dicom").glob("*.dcm"))).ndim == 2
    assert "fakeformats" not in sys.modules
