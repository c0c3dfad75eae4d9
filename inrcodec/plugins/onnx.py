"""ONNX: the super-resolution models for a browser, where `js/` runs them by onnxruntime-web.

In: a model that this version knows.  Out: an ONNX model of a block of low-res voxels.
Invariant: the weights are those that the model's SHA-256 is of, and the file bears that hash as its name: a
decoder finds what a header names, and nothing else.

========================  =============  ==========================================================
input                     type           what it is
========================  =============  ==========================================================
``lowres``                float, z y x   a block in [-1, 1] of the model's window, with its halo
``noise``                 float          noise level, 0 to 1; only of models that listen to one
========================  =============  ==========================================================

========================  =============  ==========================================================
output                    type           what it is
========================  =============  ==========================================================
``residual``              float, z y x   over Lanczos, of the block without its halo
``halo``, ``factor``      int32, 3       low-res voxels around a block; up-sampling factors; z y x
``sha256``                uint8, 32      of the weights that the model was made of
``multiply_adds``         double         for each low-res voxel
========================  =============  ==========================================================
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from inrcodec.errors import MissingExtra, ModelNotFound
from inrcodec.io.atomic import atomic_write
from inrcodec.layers.superres.blocks import HALO
from inrcodec.layers.superres.network import NOISE
from inrcodec.layers.superres.registry import Manifest, manifest, manifests

try:
    from onnx import TensorProto, checker, helper, numpy_helper
except ImportError as error:
    raise MissingExtra("onnx is not installed", extra="onnx") from error

OPSET, IR = 17, 8  # what onnxruntime has read since 2022
END = np.iinfo(np.int64).max  # of a slice: up to the last


def exported(model: str) -> bytes:
    """The ONNX model of an ID.

    Raises
    ------
    ModelNotFound
        The ID is unknown, or its weights are not those of its card.
    """
    return _Graph(manifest(model)).model()


def export(folder: Path) -> list[Path]:
    """Write all models into a folder, each as ``SHA256.onnx`` by the hash of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for model, known in manifests().items():
        paths.append(folder / f"{known.sha256}.onnx")
        atomic_write(paths[-1], exported(model), force=True)
    return paths


class _Graph:
    """The nodes of a network, in the order in which `SRDenseNet.forward` computes them."""

    def __init__(self, known: Manifest) -> None:
        self.known, self.arch = known, known.architecture
        self.weights = _weights(known)
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def model(self) -> bytes:
        """The whole, checked."""
        arch, halo = self.arch, (0 if self.arch.dims == 2 else HALO, HALO, HALO)
        self._residual()
        about: dict[str, np.ndarray[Any, Any]] = {
            "halo": np.array(halo, np.int32),
            "factor": np.array(arch.factor, np.int32),
            "sha256": np.frombuffer(bytes.fromhex(self.known.sha256), np.uint8),
            "multiply_adds": np.array(arch.multiply_adds, np.float64),
        }
        for name, values in about.items():
            self._named(self._add("Identity", self._tensor(f"{name}_", values)), name)
        inputs = [helper.make_tensor_value_info("lowres", TensorProto.FLOAT, ["z", "y", "x"])]
        if arch.noise_map:
            inputs.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, []))
        outputs = [helper.make_tensor_value_info("residual", TensorProto.FLOAT, [None] * 3)]
        for name, values in about.items():
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
            outputs.append(helper.make_tensor_value_info(name, kind, values.shape))
        graph = helper.make_graph(self.nodes, self.known.id, inputs, outputs, self.tensors)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
        checker.check_model(made, full_check=True)
        return bytes(made.SerializeToString(deterministic=True))

    def _residual(self) -> None:
        arch, axes = self.arch, list(range(2, 2 + self.arch.dims))
        maps = [self._convolved("first", self._input(), relu=True)]
        for block in range(arch.blocks):
            joined, grown = self._joined(maps), list[str]()
            for layer in range(arch.layers):
                read = self._joined(grown) if grown else joined
                grown.append(self._convolved(f"blocks.{block}.layers.{layer}", read, relu=True))
            maps.append(self._joined(grown))
        kept = {"All": maps, "HL": [maps[0], maps[-1]], "H": maps[-1:]}[arch.variant]
        last = f"head.{len(arch.strides)}"
        if arch.head == "subpixel":
            seen = self._within(self._joined(kept), [HALO - 1] * arch.dims, axes)
            x = self._convolved("bottleneck", seen, relu=True)
            self._interleave(self._convolved(last, x, padded=False))
            return
        x = self._convolved("bottleneck", self._joined(kept), relu=True)
        for number, stride in enumerate(arch.strides):
            x = self._deconvolved(f"head.{number}", x, stride[3 - arch.dims :])
        rim = [HALO * f for f in arch.factor[3 - arch.dims :]]
        x = self._within(self._convolved(last, x), rim, axes)
        self._flat(x)

    def _input(self) -> str:
        """(batch, maps, *low): of 2-D networks the slices are the batch."""
        x = self._add("Unsqueeze", "lowres", self._integers([1] if self.arch.dims == 2 else [0, 1]))
        if not self.arch.noise_map:
            return x
        scaled = self._add("Mul", "noise", self._tensor("scale", np.array(NOISE, np.float32)))
        level = self._add("Expand", self._add("Sqrt", scaled), self._add("Shape", x))
        return self._joined([x, level])

    def _interleave(self, x: str) -> None:
        """As `network._interleave`: channel = position inside the low-res voxel."""
        factor, dims = self.arch.factor[3 - self.arch.dims :], self.arch.dims
        shape = self._add("Shape", x, start=2)
        batch = [-1] if dims == 2 else []
        apart = self._add("Concat", self._integers([*batch, *factor]), shape, axis=0)
        x = self._add("Reshape", x, apart)
        axes, start = range(dims), len(batch)
        order = [*range(start), *(axis for k in axes for axis in (start + dims + k, start + k))]
        x = self._add("Transpose", x, perm=order)
        high = self._add("Mul", shape, self._integers(factor))
        if batch:
            high = self._add("Concat", self._integers(batch), high, axis=0)
        self._named(self._add("Reshape", x, high), "residual")

    def _flat(self, x: str) -> None:
        """(batch, 1, *high) to (z, y, x)."""
        x = self._add("Squeeze", x, self._integers([1] if self.arch.dims == 2 else [0, 1]))
        self._named(x, "residual")

    def _within(self, x: str, rim: Sequence[int], axes: Sequence[int]) -> str:
        """A tensor without the outermost voxels of each spatial axis."""
        ends = self._integers([-r for r in rim])
        return self._add("Slice", x, self._integers(rim), ends, self._integers(axes))

    def _joined(self, maps: Sequence[str]) -> str:
        return self._add("Concat", *maps, axis=1) if len(maps) > 1 else maps[0]

    def _convolved(self, name: str, x: str, *, padded: bool = True, relu: bool = False) -> str:
        kernel = list(self.weights[f"{name}.weight"].shape[2:])
        pads = [k // 2 if padded else 0 for k in kernel] * 2
        x = self._add("Conv", x, *self._of(name), kernel_shape=kernel, pads=pads)
        return self._add("Relu", x) if relu else x

    def _deconvolved(self, name: str, x: str, stride: Sequence[int]) -> str:
        kernel = list(self.weights[f"{name}.weight"].shape[2:])
        pads, extra = [1] * (2 * len(kernel)), [s - 1 for s in stride]
        way = {"kernel_shape": kernel, "strides": list(stride), "pads": pads, "output_padding": extra}
        return self._add("Relu", self._add("ConvTranspose", x, *self._of(name), **way))

    def _of(self, layer: str) -> list[str]:
        """Weights and biases of a layer; they are stored in the precision of the model's own file."""
        stored = [f"{layer}.{part}" for part in ("weight", "bias")]
        return [
            self._add("Cast", self._tensor(name, self.weights[name]), to=TensorProto.FLOAT) for name in stored
        ]

    def _integers(self, values: Sequence[int]) -> str:
        return self._tensor(f"integers{len(self.tensors)}", np.array(values, np.int64))

    def _tensor(self, name: str, values: np.ndarray[Any, Any]) -> str:
        self.tensors.append(numpy_helper.from_array(values, name))
        return name

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _named(self, last: str, name: str) -> None:
        """Give the output of the last node its name in the model."""
        assert self.nodes[-1].output[0] == last
        self.nodes[-1].output[0] = name


def _weights(known: Manifest) -> dict[str, np.ndarray[Any, Any]]:
    data = known.weights.read_bytes()
    if sha256(data).hexdigest() != known.sha256:
        raise ModelNotFound(
            f"the weights of model {known.id!r} are not those of its card; install it again", value=known.id
        )
    return dict(load(data))


if __name__ == "__main__":
    for written in export(Path(sys.argv[1])):
        print(written)
