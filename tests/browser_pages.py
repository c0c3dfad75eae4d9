"""What a browser opens: pages of a real crop and of the specification's files, their server, and scripts."""

import functools
import http.server
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import inrcodec
from inrcodec import io
from inrcodec.format import container
from inrcodec.layers.models import OWN
from inrcodec.layers.superres.registry import manifest
from inrcodec.report.page import html_report, html_view

SPEC = Path(__file__).parent.parent / "spec"
AV1, LATENT = (sorted(p.name for p in (SPEC / "vectors").glob(f"{coder}*")) for coder in ("av1", "latent"))
SOURCE = Path(__file__).parent / "data" / "vhf-head.nii.gz"
PIXELS = """
    const canvas = document.getElementById(arguments[0]);
    const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return Array.from(image.data.filter((_, i) => i % 4 == 0));
"""
SET = """
    const e = document.getElementById(arguments[0]) || document.querySelector(arguments[0]);
    e.value = arguments[1]; e.dispatchEvent(new Event('input'));
"""
DECODE = """
    const [done] = [arguments[0]];
    const code = new Blob([document.getElementById('decoder').textContent]);
    const worker = new Worker(URL.createObjectURL(code));
    const file = Uint8Array.from(atob(document.getElementById('file').textContent), (c) => c.charCodeAt(0));
    const answers = {};
    worker.onmessage = ({ data }) => {
        if (data.error) return done({ error: data.error.message });
        if (data.progress !== undefined) return;
        answers[data.id] = data.result;
        if (data.id === 1) worker.postMessage({ id: 2, method: 'lowres', args: [null] });
        if (data.id === 2) worker.postMessage({ id: 3, method: 'read', args: [null, 0] });
        if (data.id === 3) done({ lowres: Array.from(answers[2].data), stored: Array.from(answers[3].data) });
    };
    const model = document.getElementById('latents')?.textContent;
    const latents = model && Uint8Array.from(atob(model), (c) => c.charCodeAt(0)).buffer;
    worker.postMessage({ id: 1, method: 'open', args: [file.buffer, { latents, ...SUPERRES }] });
"""


def crop():
    """A part of a real head."""
    volume = io.read(SOURCE)
    return inrcodec.Volume(volume.array[:, 120:380, 120:360], volume.affine, modality="CT", unit="HU")


def write_pages(place, source):
    """Those that tests open, into a folder."""
    blob = inrcodec.encode(source, max_error=40, threads=1)
    (place / "page.html").write_text(html_report(blob, source, name="head.inrv"))
    (place / "alone.html").write_text(html_view(blob, name="head.inrv"))
    (place / "reference.nii").write_bytes(nibabel_bytes(source))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(OWN, str(SPEC / "models"))
        for name in [*AV1, *LATENT]:
            (place / f"{name}.html").write_text(html_view(vector(name) / "input.inrv"))
    (place / "served.html").write_text(html_view(current("model-named"), superres="superres"))
    (place / "elsewhere.html").write_text(html_view(current("model-named"), superres="nowhere"))


def current(name):
    """A vector that names the model as this version has it, and lies in a patient."""
    header, sections = container.read((vector(name) / "input.inrv").read_bytes())
    affine = header.affine.copy()
    affine[:3, 3] = 5
    made = replace(header, affine=affine, sr_sha256=bytes.fromhex(manifest(header.sr).sha256))
    rest = [(key, body) for key, body in sections.items() if key != "HEAD"]
    return container.pack([("HEAD", made.to_bytes()), *rest])


def nibabel_bytes(volume):
    return io.nifti.to_nibabel(volume).to_bytes()


def vector(name):
    return SPEC / "vectors" / name


@contextmanager
def serving(folder):
    """The address of a server, and what it was asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
