"""What other packages warn of while they read is logged, and told by the commands in lines of their own."""

from __future__ import annotations

import logging
import warnings
from threading import Thread

import dicom_maker
import numpy as np
import pydicom
import pytest

from inrcodec import io
from inrcodec.cli import dec, enc
from inrcodec.cli.notes import notes
from inrcodec.io.foreign import overheard

WRONG = "Invalid value for VR UI: '1.02.3'"  # a zero in front, as many systems write


@pytest.fixture
def series(tmp_path, monkeypatch):
    """Slices whose UID pydicom warns of each time that it is read."""
    monkeypatch.setattr(pydicom.config.settings, "_writing_validation_mode", pydicom.config.IGNORE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dicom_maker.write_series(tmp_path / "series", dicom_maker.ramp(), SeriesInstanceUID="1.02.3")
    return tmp_path / "series"


def test_pydicom_warns_of_nothing_but_in_the_log(series, caplog):
    caplog.set_level(logging.INFO, "inrcodec.io.foreign")
    before = warnings.showwarning, list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = io.read(series)
    assert volume.shape == (5, 6, 7)
    said = [record.getMessage() for record in caplog.records if record.name == "inrcodec.io.foreign"]
    assert len(said) == 1 and said[0].startswith(f"pydicom: {WRONG}")
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_what_others_warn_of_meanwhile_is_theirs():
    seen = []

    def warn(text, place=pydicom.__file__):
        warnings.warn_explicit(text, UserWarning, place, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: seen.append(str(message))
        with overheard(), overheard():
            warn("of the caller", __file__)
            warn("of the parser")
            thread = Thread(target=warn, args=["of another thread"])
            thread.start()
            thread.join()
        warn("of a later one")
    assert seen == ["of the caller", "of another thread", "of a later one"]


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ([], ["note: 1 warning of other packages, -v shows them"]),
        (["-v"], [f"note: pydicom: {WRONG}"]),
        (["-q"], []),
    ],
)
def test_a_command_says_it_in_a_line(series, tmp_path, capfd, flag, said):
    target = tmp_path / "out.inrv"
    assert enc.main([str(series), str(target), "--lossless", *flag]) == 0
    words = capfd.readouterr().err
    assert "UserWarning" not in words and ".py" not in words
    found = [line for line in words.splitlines() if line.startswith("note: ")]
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))
    copy = [str(target), str(tmp_path / "copy"), "--template", str(series), *flag]
    assert dec.main(copy) == 0
    assert "UserWarning" not in capfd.readouterr().err


def test_loggers_that_print_by_themselves_do_not(capfd):
    """nibabel's has a handler, and others fall back on Python's last resort."""
    talker = logging.getLogger("nibabel.global")
    handler = logging.StreamHandler()
    talker.addHandler(handler)
    try:
        with notes(verbose=True, quiet=False):
            for name in ("nibabel.global", "nibabel.global", "pylibjpeg.utils"):
                logging.getLogger(name).warning("pixdim is odd")
            logging.getLogger("inrcodec.io.dicom.series").info("left out series 1.2")
            np.log(np.zeros(1))
    finally:
        talker.removeHandler(handler)
    assert capfd.readouterr().err.splitlines() == [
        "note: nibabel: pixdim is odd",
        "note: pylibjpeg: pixdim is odd",
        "note: left out series 1.2",
        "note: divide by zero encountered in log",
    ]


def test_a_warning_of_this_package_is_told_and_a_failure_stays_one_line(capfd):
    with notes(verbose=False, quiet=False):
        warnings.warn_explicit("the plug-in is left out", RuntimeWarning, io.__file__, 1)
    assert capfd.readouterr().err == "note: the plug-in is left out\n"
    with pytest.raises(ValueError, match="failed"), notes(verbose=False, quiet=False):
        logging.getLogger("pydicom").warning("odd")
        raise ValueError("failed")
    assert not capfd.readouterr().err
