"""SRDenseNet (Tong et al., ICCV 2017; paper, section 3.4), in 2-D or 3-D.

In: low-res intensities.  Out: the residual over their Lanczos up-sampling.
Invariant: an `Architecture` and a mapping of weights define a network without any other code.

The paper's network is ``Architecture(dims=2, factor=(1, 4, 4), features=128, blocks=8, layers=8, growth=16,
bottleneck=256, head="deconvolution")``: 69 weight layers, 2 659 585 parameters.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from platform import machine
from typing import Any

import torch
from torch import Tensor, nn

from inrcodec.layers.superres.architectures import Architecture

ONEDNN = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
# Whether oneDNN computes in bfloat16 on this processor.
BFLOAT16 = ONEDNN and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
# Whether the processor multiplies in bfloat16, which elsewhere oneDNN does by way of float32.
NATIVE_BFLOAT16 = BFLOAT16 and (
    machine() not in ("x86_64", "AMD64")
    or any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
)
NOISE = 16.0  # scale of the noise level under the root, so that 1 is a volume of 30 dB


class DenseBlock(nn.Module):
    """``layers`` convolutions; each but the first reads all maps of those before it in the block."""

    def __init__(self, arch: Architecture, inputs: int) -> None:
        super().__init__()
        widths = [inputs, *(arch.growth * k for k in range(1, arch.layers))]
        self.layers = nn.ModuleList(_convolution(arch.dims)(n, arch.growth, 3, padding=1) for n in widths)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for layer in self.layers:
            maps.append(_relu(_convolve(layer, _joined(maps) if maps else x)))
        return _joined(maps)


class SRDenseNet(nn.Module):
    """Residual over Lanczos: ``high = lanczos.up(low) + SRDenseNet(low)``.

    ``forward`` maps (batch, 1, *low) to (batch, 1, *high) with two or three spatial axes; the outputs of the
    outermost ``rim`` low-res voxels are dropped, and computed only as far as
    others need them.
    ``noise`` is the root mean square error of the low-res values, one for each of the batch or one for all.
    """

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        convolution, each = _convolution(arch.dims), arch.growth * arch.layers
        self.first = convolution(arch.inputs, arch.features, 3, padding=1)
        self.blocks = nn.ModuleList(DenseBlock(arch, arch.features + each * k) for k in range(arch.blocks))
        self.bottleneck = convolution(arch.trunk, arch.bottleneck, 1)
        if arch.head == "subpixel":
            self.head = nn.ModuleList([convolution(arch.bottleneck, prod(arch.factor), 3, padding=1)])
        else:
            self.head = nn.ModuleList(_deconvolutions(arch))
            self.head.append(convolution(arch.bottleneck, 1, 3, padding=1))

    def forward(self, low: Tensor, rim: int = 0, noise: Tensor | float = 0.0) -> Tensor:
        maps = [_relu(_convolve(self.first, self._input(low, noise)))]
        for block in self.blocks:
            maps.append(block(_joined(maps)))
        kept = {"All": maps, "HL": [maps[0], maps[-1]], "H": maps[-1:]}[self.arch.variant]
        factor = self.arch.factor[3 - self.arch.dims :]
        if self.arch.head == "subpixel":
            # The last convolution reads one voxel around; anything farther is no longer needed.
            seen = _joined([_within(m, [max(rim - 1, 0)] * len(factor)) for m in kept])
            x = _convolve(self.head[-1], _relu(_convolve(self.bottleneck, seen)), padded=rim == 0)
            return _interleave(x, factor)
        x = _relu(_convolve(self.bottleneck, _joined(kept)))
        for deconvolution, _ in pairwise(self.head):
            x = _relu(deconvolution(x))
        return _within(_convolve(self.head[-1], x), [rim * f for f in factor])

    def _input(self, low: Tensor, noise: Tensor | float) -> Tensor:
        """The input of the first convolution, with the noise map: a root, since levels differ by decades."""
        if not self.arch.noise_map:
            return low
        level = torch.as_tensor(noise, dtype=low.dtype, device=low.device).mul(NOISE).sqrt()
        return _joined([low, level.reshape(-1, *[1] * (low.ndim - 1)).expand_as(low)])


def frozen(arch: Architecture, weights: Mapping[str, Tensor]) -> SRDenseNet:
    """A network of given weights for inference, on the CPU in float32; `RuntimeError` if they do not fit."""
    network = SRDenseNet(arch)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def _convolution(dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return nn.Conv2d if dims == 2 else nn.Conv3d


def _deconvolutions(arch: Architecture) -> list[nn.Module]:
    kind = nn.ConvTranspose2d if arch.dims == 2 else nn.ConvTranspose3d
    strides = [stride[3 - arch.dims :] for stride in arch.strides]
    extra = [tuple(s - 1 for s in stride) for stride in strides]
    maps = arch.bottleneck
    return [kind(maps, maps, 3, s, 1, e) for s, e in zip(strides, extra, strict=True)]  # type: ignore[arg-type]


def _convolve(layer: nn.Module, x: Tensor, *, padded: bool = True) -> Tensor:
    """A convolution of stride 1, with its own padding or with none.

    On one CPU thread torch computes small 3-D convolutions in a plain loop: oneDNN, called by name, takes
    2.5 ms instead of 36 (16 to 16 maps of 20 x 36 x 36).  Training uses torch's own way.
    """
    assert isinstance(layer, nn.Conv2d | nn.Conv3d)
    one = (1,) * (x.ndim - 2)
    padding = tuple(k // 2 if padded else 0 for k in layer.kernel_size)
    if x.ndim == 5 and x.device.type == "cpu" and (BFLOAT16 if x.dtype == torch.bfloat16 else ONEDNN):
        if not torch.is_grad_enabled():
            return torch.mkldnn_convolution(x, layer.weight, layer.bias, padding, one, one, 1)
        if not layer.weight.requires_grad:
            result: Tensor = _Frozen.apply(x, layer.weight, layer.bias, padding)  # type: ignore[no-untyped-call]
            return result
    convolution = nn.functional.conv2d if x.ndim == 4 else nn.functional.conv3d
    return convolution(x, layer.weight, layer.bias, 1, padding)


class _Frozen(torch.autograd.Function):
    """oneDNN's convolution of stride 1 with frozen weights; its input's gradient is another convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.padding = padding
        one = (1,) * len(padding)
        return torch.mkldnn_convolution(x, weight, bias, padding, one, one, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        one, axes = (1,) * len(ctx.padding), (2, 3, 4)
        padding = [k - 1 - p for k, p in zip(weight.shape[2:], ctx.padding, strict=True)]
        mirrored = weight.flip(axes).transpose(0, 1).contiguous()
        return torch.mkldnn_convolution(gradient, mirrored, None, padding, one, one, 1), None, None, None


def _relu(x: Tensor) -> Tensor:
    return torch.relu(x) if torch.is_grad_enabled() else torch.relu_(x)


def _joined(maps: Sequence[Tensor]) -> Tensor:
    """Concatenated maps; where channels are last in memory, they join quickly only as the last axis."""
    if len(maps) == 1:
        return maps[0]
    return torch.cat([m.movedim(1, -1) for m in maps], -1).movedim(-1, 1)


def _within(x: Tensor, rim: Sequence[int]) -> Tensor:
    """A tensor without the outermost voxels of each spatial axis."""
    for axis, r in enumerate(rim, 2):
        x = x.narrow(axis, r, x.shape[axis] - 2 * r)
    return x


def _interleave(x: Tensor, factor: tuple[int, ...]) -> Tensor:
    """(batch, prod(factor), *low) -> (batch, 1, *high): channel = position inside the low-res voxel."""
    batch, low, dims = x.shape[0], x.shape[2:], len(factor)
    x = x.movedim(1, -1).reshape(batch, *low, *factor)
    order = [axis for k in range(dims) for axis in (1 + k, 1 + dims + k)]
    return x.permute(0, *order).reshape(batch, 1, *(n * f for n, f in zip(low, factor, strict=True)))
