"""Every way in which a command ends has its exit code, one line that says why, and leaves nothing behind."""

from __future__ import annotations

import errno
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inrcodec import api
from inrcodec.cli import dec, enc, exits, info
from inrcodec.errors import FitFailed
from inrcodec.file import InrvFile
from inrcodec.format import container, limits

DATA = Path(__file__).parent / "data"
MAINS = {"enc": enc.main, "dec": dec.main, "info": info.main}
TINY = "--factor 2 --tiles 1,1,1 --width 10 --steps 200 --sr lanczos --threads 1"


def run(line, folder, capfd):
    """Run `enc|dec|info ARGUMENTS` ({} is `folder`); return exit code, stdout, stderr."""
    name, *words = line.replace("{}", str(folder)).split()
    code = MAINS[name](words)
    out, err = capfd.readouterr()
    return code, out, err


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


ENDS = [
    # code, command, what the message says
    (0, f"enc {{}}/in.npy {{}}/out.inrv {TINY}", "PSNR"),
    (0, "dec {}/in.inrv {}/out.npy", "out.npy"),
    (0, "info {}/in.inrv", ""),
    (0, "info --help", ""),
    (0, "enc --version", ""),
    (2, "enc", "INPUT"),
    (2, "enc {}/in.npy {}/out.inrv --facter 4", "did you mean '--factor'"),
    (2, "enc {}/in.npy {}/out.inrv --time-budget 0", "error: --time-budget: 0.0 is not possible"),
    (2, "enc {}/in.npy {}/in.inrv --device cuda:99", "use 'cpu'"),
    (2, "enc {}/in.npy {}/out.nii.gz", "out.inrv?"),
    (2, "enc {}/in.npy {}/out.npy", "out.inrv?"),
    (2, "enc {}/in.npy {}/out.dcm", "out.inrv?"),
    (2, "enc {}/in.npy {}/out.nii.bz2", "/out.inrv?"),
    (2, "enc {}/in.npy {}/out.xyz", "/out.inrv?"),
    (2, "enc {}/in.npy {}/out.INRVV", "its ending says .inrvv; did you mean"),
    (2, "enc {}/in.npy {}/out.1.2.tar", "/out.1.2.inrv?"),
    (2, "enc {}/in.npy {}/out.inrv --modality C,T", "error: --modality: 'C,T' is not a DICOM term"),
    (2, "enc {}/in.npy {}/out.inrv --preset balance", "did you mean 'balanced'"),
    (2, "enc {}/in.npy {}/out.inrv --factor 9", "from 1 to 8"),
    (2, "enc {}/in.npy {}/out.inrv --factor x", "error: --factor: 'x' is not"),
    (2, "enc {}/in.npy {}/out.inrv --ratio 100 --size 100", "error: --ratio, --size: "),
    (
        2,
        "enc {}/in.npy {}/out.inrv --preset paper --width 64",
        "error: --width: preset 'paper' fixes it at 128",
    ),
    (2, "enc {}/in.npy {}/out.inrv --device cuda:99", "use 'cpu'"),
    (2, "enc {}/in.npy {}/out.inrv -q -v", "not allowed with"),
    (2, "enc {}/in.npy - --json", "name an output"),
    (2, "enc - {}/out.inrv", "'-' is not possible"),
    (2, "enc {}/in.npy {}/in.npy --force", "the input itself"),
    (2, "dec {}/in.inrv -", "'-' is not possible"),
    (2, "dec {}/in.inrv {}/out.jpg", "use .nii, .nii.gz, .npy"),
    (2, "dec {}/in.inrv {}/out.nii.bz2", "or a folder for DICOM, with a / behind its name"),
    (2, "dec {}/in.inrv {}/out.npz", "cannot tell what to write"),
    (2, "dec {}/in.inrv {}/out.inrv", "cannot tell what to write"),
    (2, "dec {}/in.inrv {}/out.dcm", "folder for DICOM"),
    (2, "dec {}/in.inrv {}/out.npy --template {}", "template"),
    (2, "dec {}/in.inrv {}/in.npy --sr lanzcos", "did you mean 'lanczos'"),
    (2, "dec {}/in.inrv {}/in.npy --device cuda:99", "use 'cpu'"),
    (
        2,
        "dec {}/in.inrv {}/out.npy --lowres --sr lanczos",
        "--sr: 'lanczos' has no meaning with",
    ),
    (2, "info {}/in.inrv --preview {}/out.jpg", "name a .png file"),
    (2, "dec {}/mr.inrv {}/out --template {}/gap", "template is CT and the volume is MR"),
    (2, "dec {}/in.inrv {}/out.npy --threads 0", "error: --threads: 0 is not"),
    (2, "dec {}/in.inrv {}/out.npy --device cuda:99", "use 'cpu'"),
    (2, "info {}/in.inrv --preview -", "'-' is not possible"),
    (2, "info {}/in.inrv --preview {}/in.inrv --force", "the input itself"),
    (3, "enc {}/none.npy {}/out.inrv", "none.npy"),
    (3, "enc http://host/in.nii {}/out.inrv", "http://host/in.nii is a URL"),
    (3, "dec http://127.0.0.1:1/in.inrv {}/out.npy", "cannot read http://127.0.0.1:1/in.inrv"),
    (3, "info s3://host/in.inrv", "cannot read s3://host/in.inrv"),
    (3, "enc {}/nan.npy {}/out.inrv", "NaN"),
    (3, "dec {}/none.inrv {}/out.npy", "none.inrv"),
    (3, "dec {}/in.inrv {}/out --template {}/none", "none"),
    (3, "info {}/none.inrv", "none.inrv"),
    (3, "enc {}/size=9.npy {}/out.inrv", "/size=9.npy does not exist"),
    (4, "info {}/in.npy", "not an .inrv file"),
    (4, "info {}/flipped.inrv", "flipped.inrv: "),
    (4, "dec {}/truncated.inrv {}/out.npy", "truncated.inrv: "),
    (4, "dec {}/extended.inrv {}/out.npy", "extended.inrv: "),
    (5, "info {}/newer.inrv", "newer.inrv: file has format version"),
    (7, "enc {}/in.npy {}/in.inrv", "--force: needed to replace"),
    (7, "enc {}/in.npy {}/none/out.inrv", "none"),
    (7, "dec {}/in.inrv {}/in.npy", "--force"),
    (7, "info {}/in.inrv --preview {}/old.png", "--force"),
    (7, f"enc {{}}/in.npy /dev/full {TINY}", "no space left"),
    (9, "enc {}/in.npy {}/out.inrv --sr no-such-model", "no-such-model"),
    (9, "enc {}/in.npy {}/in.inrv --sr ct-3d-4x", "did you mean 'ct-3d-x4'"),
    (10, "enc {}/gap {}/out.inrv", "slice"),
    (11, "enc {}/in.npy {}/out.inrv --size 60", "--size: 60 bytes are too few"),
    (11, "enc {}/in.npy {}/out.inrv --ratio 1e9", "error: --ratio: 0 bytes are too few"),
]


@pytest.fixture
def folder(tiny):
    """`tiny`, and files that are wrong in one way each."""
    blob = (tiny / "in.inrv").read_bytes()
    middle = len(blob) // 2
    (tiny / "flipped.inrv").write_bytes(blob[:middle] + bytes([blob[middle] ^ 1]) + blob[middle + 1 :])
    (tiny / "truncated.inrv").write_bytes(blob[:-1])
    (tiny / "extended.inrv").write_bytes(blob + b"\0")
    (tiny / "newer.inrv").write_bytes(blob[:8] + (2).to_bytes(2, "little") + blob[10:])
    header, sections = container.read(blob)
    bodies = {**sections, "HEAD": replace(header, modality="MR").to_bytes()}
    (tiny / "mr.inrv").write_bytes(container.pack(list(bodies.items())))
    (tiny / "old.png").write_bytes(b"old")
    np.save(tiny / "nan.npy", np.full((4, 8, 8), np.nan))
    shutil.copytree(DATA / "vhf-head-dicom", tiny / "gap")
    slices = sorted((tiny / "gap").iterdir(), key=_height)
    slices[len(slices) // 2].unlink()
    return tiny


def _height(path):
    import pydicom

    return float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])


@pytest.mark.parametrize(("code", "line", "says"), ENDS, ids=[line for _, line, _ in ENDS])
def test_a_command_ends_with_its_code_and_says_why(code, line, says, folder, capfd):
    before = listing(folder)
    ended, out, err = run(line, folder, capfd)
    assert ended == code, err
    assert says in err
    if code:
        for words_of_python in ("=True", "time_budget", "b'", 'b"'):
            assert words_of_python not in err
        assert out == ""
        assert len(err.splitlines()) == 1
        assert listing(folder) == before


@pytest.mark.parametrize("template", ["none", "gap"], ids=["missing", "of another modality"])
def test_a_wrong_template_is_refused_before_the_decode(template, folder, capfd, monkeypatch):
    monkeypatch.setattr(InrvFile, "volume", lambda *args, **keywords: pytest.fail("decoded"))
    code, _, err = run(f"dec {{}}/mr.inrv {{}}/out --template {{}}/{template}", folder, capfd)
    assert code in (2, 3), err


FAILURES = [
    # what the library raises, code, what the message says
    (RuntimeError("boom\nmore"), 1, "unexpected RuntimeError: boom, run with -v"),
    (MemoryError(), 1, "out of memory"),
    (FitFailed("tile 0 is worse than a constant; try more steps"), 11, "more steps"),
    (OSError(errno.ENOSPC, "No space left on device"), 7, "no space left on device"),
    (KeyboardInterrupt(), 130, "interrupted"),
]


@pytest.mark.parametrize(("failure", "code", "says"), FAILURES, ids=[repr(row[0]) for row in FAILURES])
def test_what_the_library_raises_is_one_line(failure, code, says, tiny, capfd, monkeypatch):
    def fail(*args, **keywords):
        raise failure

    monkeypatch.setattr(api, "encode_file", fail)
    ended, out, err = run("enc {}/in.npy {}/out.inrv", tiny, capfd)
    assert (ended, out, len(err.splitlines())) == (code, "", 1)
    assert says in err
    assert not (tiny / "out.inrv").exists()
    ended, _, err = run("enc {}/in.npy {}/out.inrv -v", tiny, capfd)
    assert ended == code
    assert "Traceback" in err


def test_a_file_beyond_the_limits_ends_with_6(tiny, capfd, monkeypatch):
    monkeypatch.setattr(limits, "VOXELS", 10)
    code, _, err = run("info {}/in.inrv", tiny, capfd)
    assert code == 6, err


def test_a_collection_of_which_some_failed_ends_with_12(tmp_path, capfd):
    for name, values in (("good", [[1.0, 2.0]]), ("bad", [[1j, 2.0]])):
        np.save(tmp_path / f"{name}.npy", np.array(values))
    code, out, err = run("enc -r {} --output-dir-mirror {}/out --lossless", tmp_path, capfd)
    assert (code, out) == (12, "")
    assert "bad.npy: " in err and (tmp_path / "out" / "good.inrv").exists()


def test_every_code_of_the_table_is_tested():
    tested = {code for code, *_ in ENDS} | {code for _, code, _ in FAILURES} | {6, exits.SOME_FAILED}
    assert tested == {code for code, _ in exits.EXITS}


@pytest.mark.parametrize("target", ["out.npy", "out.nii", "out.nii.gz", "series"])
def test_whatever_the_format_the_system_says_why_it_does_not_write(tmp_path, target):
    """NumPy says "65536 requested and 32704 written", pydicom a page with its own traceback."""
    noise = np.random.default_rng(0).integers(0, 4000, (4, 64, 64), np.int16)
    (tmp_path / "in.inrv").write_bytes(api.encode(noise, lossless=True))
    words = [str(tmp_path / "in.inrv"), str(tmp_path / target)]
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000));"
    command = f"{limit} from inrcodec.cli import dec; sys.exit(dec.main({words}))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    said = f"inrv-dec: error: cannot write {tmp_path / target}: file too large, choose another place"
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1
    assert listing(tmp_path) == ["in.inrv"]


@pytest.mark.parametrize("name", MAINS)
def test_the_full_help_has_the_table(name, capfd):
    assert MAINS[name](["--help-all"]) == 0
    assert exits.exit_codes() in capfd.readouterr().out


START = "import sys; from inrcodec.cli.enc import main; sys.exit(main())"


def heed_interrupts():
    """Under nohup the tests' own process ignores SIGINT, and its children would."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*words, code=START, **options):
    options = {"preexec_fn": heed_interrupts} | options
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_leaves_the_old_file_and_nothing_else(number, tiny):
    before = (tiny / "in.inrv").read_bytes()
    names = listing(tiny)
    words = (tiny / "in.npy", tiny / "in.inrv", "--force", "-v", "--steps", 10_000_000, "--threads", 1)
    with start(*words) as process:
        assert process.stderr.readline().startswith("read")  # the work has begun
        process.send_signal(number)
        try:
            _, err = process.communicate(timeout=120)  # no measure of speed: it ends, or never does
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert (tiny / "in.inrv").read_bytes() == before
    assert listing(tiny) == names


# A fit whose pieces never end: an interrupt that waited for them would never end either, and one that left
# them to the interpreter's farewell would end with 134, inside of torch.
ENDLESS = """
import sys
import torch
from inrcodec import api, parallel
from inrcodec.cli.enc import main

def piece(number):
    weight = torch.ones(64, 64, requires_grad=True)
    if number == 0:
        print("computing", file=sys.stderr, flush=True)
    while True:
        (weight @ weight).sum().backward()

def encode_file(*args, **keywords):
    with parallel.single_threaded(2) as pool:
        pool(piece, range(4))

api.encode_file = encode_file
sys.exit(main())
"""


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_does_not_wait_for_threads_that_compute(number, times, tiny):
    with start(tiny / "in.npy", tiny / "out.inrv", code=ENDLESS) as process:
        try:
            assert process.stderr.readline() == "computing\n"
            for _ in range(times):
                process.send_signal(number)
            _, err = process.communicate(timeout=120)  # no measure of speed: it ends, or never does
        finally:
            process.kill()
    assert (process.returncode, err.splitlines()[-1]) == (130, "inrv-enc: interrupted, no output was written")
    assert "Traceback" not in err


def test_a_signal_that_was_ignored_stays_so(tiny, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    seen = []
    monkeypatch.setattr(api, "info", lambda source: seen.append(signal.getsignal(signal.SIGINT)) or {})
    try:
        assert info.main([str(tiny / "in.inrv")]) == 0
        assert seen == [signal.SIG_IGN]
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_disk_that_fills_up_leaves_the_old_file(tiny):
    before = (tiny / "in.inrv").read_bytes()

    def full_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    with start(tiny / "in.npy", tiny / "in.inrv", "--force", *TINY.split(), preexec_fn=full_disk) as process:
        _, err = process.communicate()
    assert process.returncode == 7, err
    assert (tiny / "in.inrv").read_bytes() == before
    assert not list(tiny.glob(".*"))


def test_a_reader_that_has_gone_is_no_traceback(tiny):
    code = "import sys; from inrcodec.cli.info import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, tiny / "in.inrv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 7
    process.stderr.close()
