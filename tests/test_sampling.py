"""Between the voxels: the networks' field, interpolation, other grids, and the field as a torch module."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import inrcodec
from inrcodec.errors import LimitExceeded, UsageError
from inrcodec.file import InrvFile, resampling, sampling
from inrcodec.volume.affine import coarser

torch = pytest.importorskip("torch")
VECTORS = Path(__file__).parents[1] / "spec" / "vectors"
WITH_NETWORKS = ["anisotropic", "companding", "ct-int16-mask", "image-2d", "mr-uint8", "several-tiles"]
TILTED = np.array([[0.5, 0.1, 0.3, -40], [0, 0.6, -0.8, 25], [0.1, -0.2, 1.9, 7], [0, 0, 0, 1]])


def vector(name: str) -> InrvFile:
    return inrcodec.open(VECTORS / name / "input.inrv")


def grid(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Centres of all voxels, (z, y, x, 3), LPS mm."""
    z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return np.stack([x, y, z], -1) @ affine[:3, :3].T + affine[:3, 3]


def physical(file: InrvFile, unit: np.ndarray) -> np.ndarray:
    """Unit values as the file's physical ones, without rounding."""
    low, high = file.header.low, file.header.high
    slope, intercept = file.header.rescale
    return (low + (unit + 1) * (high - low) / 2) * slope + intercept


@pytest.fixture(scope="module")
def smooth() -> tuple[np.ndarray, InrvFile]:
    """An array that a cubic goes through, on a tilted grid, lossless in small bricks."""
    z, y, x = np.meshgrid(np.arange(12), np.arange(14), np.arange(17), indexing="ij")
    array = (3 * z * z - 2 * y * x + 5 * x + 40 * y - 100).astype(np.int32)
    volume = inrcodec.Volume(array, TILTED, rescale=(0.5, -20.0))
    return array, inrcodec.open(inrcodec.encode(volume, lossless=True, brick=(8, 8, 8)))


# --- the networks' field


@pytest.mark.parametrize("name", WITH_NETWORKS)
def test_at_the_voxels_of_the_low_res_volume_the_field_is_the_low_res_volume(name: str) -> None:
    file = vector(name)
    affine = coarser(file.affine, file.header.factor)
    inside = tuple(slice(0, n // f) for n, f in zip(file.shape, file.header.factor, strict=True))
    points = grid(file.lowres_shape, affine)[inside]  # a last voxel may have its centre beyond the volume
    expected = physical(file, file.lowres()[inside])
    found = file.sample(points)
    assert found.shape == expected.shape and found.dtype == np.float64
    assert np.allclose(found, expected, rtol=0, atol=1e-9 * np.ptp(expected) + 1e-9)


@pytest.mark.parametrize("name", WITH_NETWORKS)
def test_gradients_are_those_of_differences(name: str) -> None:
    file = vector(name)
    rng = np.random.default_rng(0)
    index = rng.uniform(0.2, 0.8, (300, 3)) + rng.integers(0, file.shape, (300, 3))[:, ::1]
    index = np.minimum(index, np.array(file.shape) - 1)
    points = index[:, ::-1] @ file.affine[:3, :3].T + file.affine[:3, 3]
    values, gradients = file.sample(points, gradient=True)
    step = 1e-4 * min(file.spacing)
    for axis in range(3):
        moved = [file.sample(points + sign * step * np.eye(3)[axis]) for sign in (-1, 1)]
        differences = (moved[1] - moved[0]) / (2 * step)
        straight = np.abs(moved[1] + moved[0] - 2 * values) < 1e-3 * np.ptp(values) * step / min(file.spacing)
        smooth = straight & ~np.isnan(differences)  # not where two tiles, cells or pieces of a curve meet
        scale = np.ptp(values) / min(file.spacing)
        assert smooth.sum() > 20
        assert np.allclose(gradients[smooth, axis], differences[smooth], rtol=1e-3, atol=1e-4 * scale)


def test_background_is_flat_and_the_outside_is_not_a_number() -> None:
    file = vector("ct-int16-mask")
    active = file.decoder.require_base().active
    affine = coarser(file.affine, file.header.factor)
    values, gradients = file.sample(grid(file.lowres_shape, affine), gradient=True)
    background = physical(file, np.float64(file.header.background))
    flat = ~active & ~np.isnan(values)
    assert flat.any() and np.allclose(values[flat], background) and not gradients[flat].any()
    corner = np.array([-0.51, -0.51, -0.51]) @ file.affine[:3, :3].T + file.affine[:3, 3]
    assert np.isnan(file.sample(corner)) and np.isnan(file.sample(corner, 1))
    assert file.sample(np.empty((0, 3))).shape == (0,)


# --- interpolation of voxels


@pytest.mark.parametrize("order", [0, 1, 3])
def test_at_a_voxel_a_sample_is_its_value(smooth: tuple[np.ndarray, InrvFile], order: int) -> None:
    array, file = smooth
    found = file.sample(grid(file.shape, file.affine), order)
    assert np.allclose(found, array * 0.5 - 20, atol=1e-9)


def test_between_voxels_polynomials_are_met_by_their_order(smooth: tuple[np.ndarray, InrvFile]) -> None:
    _, file = smooth
    index = np.random.default_rng(1).uniform(1, 10, (200, 3))
    points = index[:, ::-1] @ TILTED[:3, :3].T + TILTED[:3, 3]
    z, y, x = index.T
    expected = (3 * z * z - 2 * y * x + 5 * x + 40 * y - 100) * 0.5 - 20
    found, gradients = file.sample(points, 3, gradient=True)
    assert np.allclose(found, expected, atol=1e-8)
    slopes = np.stack([-2 * y + 5, -2 * x + 40, 6 * z], 1) * 0.5  # along x, y, z per voxel
    assert np.allclose(gradients, slopes @ np.linalg.inv(TILTED[:3, :3]), atol=1e-8)
    below, above = np.floor(z), np.ceil(z)
    chord = 3 * (below**2 + (z - below) * (above**2 - below**2)) - 2 * y * x + 5 * x + 40 * y - 100
    assert np.allclose(file.sample(points, 1), chord * 0.5 - 20, atol=1e-8)


@pytest.mark.parametrize("order", [1, 3])
def test_on_a_voxel_the_gradient_of_a_plane_is_its_slope(order: int) -> None:
    z, y, x = np.indices((6, 8, 10))
    file = inrcodec.open(inrcodec.encode((900 + 3 * x - 5 * y + 7 * z).astype(np.int16), lossless=True))
    points = np.stack(np.meshgrid(range(2, 8), range(2, 6), range(2, 4)), -1).astype(np.float64)
    _, gradients = file.sample(points, order, gradient=True)
    assert np.allclose(gradients, [3, -5, 7])


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_sample_is_the_same_alone_and_among_others(smooth: tuple[np.ndarray, InrvFile], order: int) -> None:
    _, file = smooth
    points = grid(file.shape, file.affine).reshape(-1, 3)[::37] + 0.21
    together = file.sample(points, order)
    assert np.array_equal(together, [file.sample(point, order) for point in points], equal_nan=True)


def test_next_to_padding_the_nearest_voxel_counts() -> None:
    array = np.full((1, 4, 8), 100, np.int16)
    array[..., :4] = -2000
    volume = inrcodec.Volume.from_array(array, padding=-2000)
    file = inrcodec.open(inrcodec.encode(volume, lossless=True))
    found = file.sample([(x, 1.5, 0) for x in (2.4, 3.2, 3.49, 3.51, 3.9, 5.2)], 1)
    assert np.allclose(found, [-2000, -2000, -2000, 100, 100, 100])


def test_orders_that_cannot_be_are_refused(smooth: tuple[np.ndarray, InrvFile]) -> None:
    _, file = smooth
    for order in (2, -1, True, "linear"):
        with pytest.raises(UsageError, match="allowed: 0"):
            file.sample((0, 0, 0), order)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no gradient"):
        file.sample((0, 0, 0), 0, gradient=True)
    for points in (3, (1, 2), [[1, 2]], "here"):
        with pytest.raises(UsageError, match="points"):
            file.sample(points)  # type: ignore[arg-type]


def test_labels_are_never_mixed() -> None:
    array = np.zeros((1, 4, 8), np.uint8)
    array[..., 4:] = 6
    volume = inrcodec.Volume(array, np.eye(4), description={"labels": 1})
    file = inrcodec.open(inrcodec.encode(volume, lossless=True))
    assert set(file.sample([(x, 1.2, 0) for x in np.linspace(0, 7, 30)]).tolist()) == {0, 6}
    with pytest.raises(UsageError, match="numbers of segments"):
        file.sample((0, 0, 0), 1)
    assert set(np.unique(file.resample((1, 0.3, 0.3)).array)) == {0, 6}


def test_slices_with_scales_of_their_own_are_sampled_in_physical_values() -> None:
    array = np.full((3, 4, 4), 10, np.int16)
    scales = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 1.0]])
    volume = inrcodec.Volume(array, np.eye(4), slice_rescale=scales)
    file = inrcodec.open(inrcodec.encode(volume, lossless=True))
    assert file.sample([(1, 1, 0), (1, 1, 0.5), (1, 1, 2)], 1).tolist() == [10, 15, 41]
    found = file.resample((0.5, 1, 1), order=0)
    assert found.array.dtype == np.float32 and found.physical()[:, 0, 0].tolist() == [10, 10, 20, 20, 41, 41]


# --- other grids


@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_own_grid_gives_the_volume_again(smooth: tuple[np.ndarray, InrvFile], order: int) -> None:
    array, file = smooth
    for like in (file, file.volume(), (file.shape, file.affine)):
        found = file.resample(like=like, order=order)
        assert np.array_equal(found.array, array) and found.rescale == file.header.rescale
        assert np.allclose(found.affine, file.affine)


@pytest.mark.parametrize("order", [None, 1, 3])
@pytest.mark.parametrize("name", ["several-tiles", "bricks"])
def test_a_grid_has_the_samples_at_its_voxels(
    name: str, order: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = vector(name)
    centre = np.array(file.affine @ [*[(n - 1) / 2 for n in file.shape[::-1]], 1])[:3]
    oblique = TILTED.copy()
    oblique[:3, 3] = centre - oblique[:3, :3] @ [6, 5, 2]
    expected = file.sample(grid((5, 11, 13), oblique), order)
    slope, intercept = file.header.rescale
    beyond = np.isnan(expected)
    assert not beyond.all()
    for whole, edges, points in ((1 << 28, (64, 256, 256), 1 << 18), (0, (3, 5, 6), 40)):
        monkeypatch.setattr(resampling, "WHOLE", whole)
        monkeypatch.setattr(resampling, "USUAL", edges)
        monkeypatch.setattr(resampling, "POINTS", points)
        found = file.resample(like=((5, 11, 13), oblique), order=order, outside=intercept + 3 * slope)
        assert np.allclose(found.affine, oblique)
        exact = (expected[~beyond] - intercept) / slope
        assert np.abs(found.array[~beyond] - exact).max() <= 0.5 + 1e-6
        assert (found.array[beyond] == 3).all()


def test_a_spacing_keeps_the_place(smooth: tuple[np.ndarray, InrvFile]) -> None:
    _, file = smooth
    z, y, x = file.spacing
    found = file.resample((2 * z, y, x / 2), order=1)
    assert found.shape == (6, 14, 34) and np.allclose(found.spacing, (2 * z, y, x / 2))
    corners = [np.array([-0.5, -0.5, -0.5, 1]), np.array([16.5, 13.5, 11.5, 1])]
    others = [corners[0], np.array([33.5, 13.5, 5.5, 1])]
    for mine, other in zip(corners, others, strict=True):
        assert np.allclose(file.affine @ mine, found.affine @ other)
    assert file.resample(100.0).shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({}, "spacing"),
        ({"spacing": 1.0, "like": ((1, 1, 1), np.eye(4))}, "spacing"),
        ({"spacing": 0}, "positive"),
        ({"spacing": (1, 2)}, "positive"),
        ({"spacing": "fine"}, "positive"),
        ({"like": "a volume"}, "like"),
        ({"like": ((0, 1, 1), np.eye(4))}, "no voxels"),
    ],
)
def test_grids_that_cannot_be_are_refused(
    smooth: tuple[np.ndarray, InrvFile], keywords: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        smooth[1].resample(**keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize("keywords", [{"spacing": 1e-9}, {"like": ((10**7,) * 3, np.eye(4))}])
def test_a_grid_that_no_memory_holds_is_refused(
    smooth: tuple[np.ndarray, InrvFile], keywords: dict[str, object]
) -> None:
    with pytest.raises(LimitExceeded, match="GiB"):
        smooth[1].resample(**keywords)  # type: ignore[arg-type]


# --- the torch module


@pytest.mark.parametrize("name", WITH_NETWORKS)
def test_the_module_is_the_field(name: str) -> None:
    file = vector(name)
    rng = np.random.default_rng(2)
    index = rng.uniform(-2, np.array(file.shape) + 1, (500, 3))[:, ::-1]
    points = index @ file.affine[:3, :3].T + file.affine[:3, 3]
    values, gradients = file.sample(points, gradient=True)
    module, scale = file.as_module(), np.nanmax(values) - np.nanmin(values)
    inputs = torch.tensor(points, requires_grad=True)
    outputs = module(inputs)
    assert np.allclose(outputs.detach(), values, atol=1e-9 * scale, equal_nan=True)
    outputs.nansum().backward()
    inside = ~np.isnan(values)
    assert np.allclose(inputs.grad[inside], gradients[inside], rtol=1e-6, atol=1e-9 * scale)
    single = module.float()(torch.tensor(points, dtype=torch.float32)).detach().numpy()
    near = np.abs(single - values) < 1e-3 * scale
    assert single.dtype == np.float32 and near[inside].mean() > 0.98  # rounding moves points across tiles


def test_the_module_learns_and_keeps_its_state() -> None:
    file = vector("several-tiles")
    module, other = file.as_module(), file.as_module()
    points = torch.tensor(grid(file.shape, file.affine).reshape(-1, 3)[::5])
    before = module(points).detach()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-9)
    (module(points) - 100).square().mean().backward()
    assert all(p.grad is not None for p in module.parameters())
    optimizer.step()
    assert not torch.equal(module(points), before)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(points), module(points))
    assert module(points[:0]).shape == (0,)
    beyond = torch.full((2, 3), 1e4, dtype=torch.float64, requires_grad=True)
    module(beyond).sum().backward()
    assert not beyond.grad.any()


def test_a_file_without_networks_is_no_field(smooth: tuple[np.ndarray, InrvFile]) -> None:
    with pytest.raises(UsageError, match="no networks"):
        smooth[1].as_module()


def test_every_order_has_a_file(smooth: tuple[np.ndarray, InrvFile]) -> None:
    """Without an order networks come first, then what their absence leaves."""
    for file, order in product((smooth[1], vector("one-tile")), (None, 0, 1, 3)):
        found = sampling.checked_order(file.decoder, order)
        assert found == (order if order is not None else (1 if file is smooth[1] else None))
