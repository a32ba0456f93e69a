"""The engine against xaitk-saliency, and that an image's maps depend on nothing but the image and the settings."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from xaitk_saliency.impls.gen_classifier_conf_sal.mc_rise_scoring import MCRISEScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.occlusion_scoring import OcclusionScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.rise_scoring import RISEScoring
from xaitk_saliency.impls.perturb_image.mc_rise import MCRISEGrid
from xaitk_saliency.impls.perturb_image.random_grid import RandomGrid
from xaitk_saliency.impls.perturb_image.rise import RISEGrid
from xaitk_saliency.impls.perturb_image.sliding_radial import SlidingRadial
from xaitk_saliency.impls.perturb_image.sliding_window import SlidingWindow

from runner.errors import RunFailedError
from runner.saliency import engine as module
from runner.saliency import masks
from runner.saliency.engine import make_schedule
from runner.saliency.fused import FusedStrategy
from runner.saliency.occlusion import occlude
from runner.saliency.raw_maps import RawMaps
from runner.saliency.reference import ReferenceStrategy
from runner.saliency.strategies import create_strategy
from tests.saliency_samples import ConvModel, RegionModel, Sample

IMAGES = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
COLORS = [0.0, 0.0, 0.0, 1.0, 0.5, 0.2]
METHODS = ["rise", "random_grid", "mc_rise", "sliding_window", "sliding_radial"]


def made(
    model: nn.Module, images: Tensor = IMAGES, labels: Sequence[int] | None = None, **values: Any
) -> list[RawMaps]:
    """Return what the fused strategy makes of images that come together."""
    if values.get("saliency_method") == "mc_rise":
        values.setdefault("saliency_fill", COLORS)
    strategy = FusedStrategy(Sample(**({"saliency_fill": "mean"} | values)), model.eval(), len(images))
    with torch.inference_mode():
        return list(strategy.explain(images, labels or [-1] * len(images), None))


def scaled(maps: Any) -> Any:
    return maps / np.abs(maps).max(axis=(-2, -1), keepdims=True)


# --- equal to xaitk-saliency --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_xaitk_saliency_in_float64(method: str) -> None:
    """xaitk-saliency's own perturbers and scorers, with all that is theirs in float64, give the same maps to 1e-5."""
    n, s, p = 300, 4, 0.4
    perturbers: dict[str, tuple[Any, Any]] = {
        "rise": (RISEGrid(n=n, s=s, p1=p, seed=5, threads=0), RISEScoring(p)),
        "random_grid": (RandomGrid(n=n, s=(s, s), p1=p, seed=5, threads=0), RISEScoring(p)),
        "mc_rise": (MCRISEGrid(n=n, s=s, p1=p, k=2, seed=5, threads=0), MCRISEScoring(2, p)),
        "sliding_window": (SlidingWindow((s, s), (2, 2)), OcclusionScoring()),
        "sliding_radial": (SlidingRadial((s, s), (2, 2)), OcclusionScoring()),
    }
    perturber, scoring = perturbers[method]
    model, image = ConvModel().eval(), IMAGES[0]
    array = image.permute(1, 2, 0).numpy()
    visible = perturber.perturb(array)
    fill: Any = COLORS if method == "mc_rise" else 0.3

    def scores(images: Any) -> Any:
        tensor = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            return model(tensor).softmax(dim=1).double().numpy()

    perturbed = scores(list(occlude(array, visible, fill)))
    expected = scoring.generate(scores([array])[0], perturbed, visible.astype(np.float64))
    [raw] = made(
        model, image[None], saliency_method=method, saliency_num_masks=n, saliency_grid_size=s, saliency_seed=5,
        saliency_window_size=s, saliency_stride=2, saliency_mask_probability=p, saliency_centered=False,
        saliency_fill=fill, saliency_targets="all",
    )  # fmt: skip
    ours: Any = raw.color_maps if method == "mc_rise" else raw.maps
    np.testing.assert_allclose(scaled(ours), expected, atol=1e-5)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("batch_size", [None, 1, 7, 64])
@pytest.mark.parametrize("method", METHODS)
def test_maps_and_strength_are_those_of_the_reference(method: str, batch_size: int | None, centered: bool) -> None:
    """The low-level strategy gives the same maps with the same strength, for any batch size."""
    values: dict[str, Any] = {
        "saliency_method": method, "saliency_centered": centered, "saliency_num_masks": 60, "saliency_targets": "all",
        "saliency_fill": COLORS if method == "mc_rise" else "blur",
    }  # fmt: skip
    model = ConvModel().eval()
    fused = made(model, saliency_batch_size=batch_size, **values)
    with torch.inference_mode():
        reference = list(ReferenceStrategy(Sample(**values), model, 3).explain(IMAGES, [-1] * 5, None))
    for ours, theirs in zip(fused, reference, strict=True):
        strongest = np.abs(theirs.maps).max()
        np.testing.assert_allclose(ours.maps, theirs.maps, atol=1e-5 * strongest)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
        assert ours.targets.tolist() == theirs.targets.tolist()
        assert ours.num_masks == theirs.num_masks
        assert (ours.color_maps is None) == (theirs.color_maps is None)
        if ours.color_maps is not None:
            assert theirs.color_maps is not None
            np.testing.assert_allclose(ours.color_maps, theirs.color_maps, atol=1e-5 * strongest)


def test_windows_on_large_images_are_computed_incrementally(caplog: pytest.LogCaptureFixture) -> None:
    """The maps are the same, bit for bit whichever images come together, and each image has its own activations."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3 if not i else 16, 16, 3, padding=1) for i in range(6)]
    model = nn.Sequential(*layers, nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 4)).eval()
    images = torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    values: dict[str, Any] = {
        "saliency_method": "sliding_window", "saliency_window_size": 8, "saliency_stride": 24, "saliency_targets": "all"
    }  # fmt: skip
    with caplog.at_level("DEBUG", "runner.saliency"):
        incremental = made(model, images, **values)
        assert "incremental" in caplog.text
        caplog.clear()
        ordinary = made(model, images, saliency_incremental=False, **values)
        assert "incremental" not in caplog.text
    alone = [made(model, image[None], **values)[0] for image in images]
    for ours, theirs, single in zip(incremental, ordinary, alone, strict=True):
        np.testing.assert_allclose(ours.maps, theirs.maps, atol=1e-5 * np.abs(theirs.maps).max())
        np.testing.assert_array_equal(ours.maps, single.maps)


def test_pixels_that_no_window_hides_are_zero() -> None:
    """With a step larger than the window nothing is known of some pixels, as in the reference."""
    values: dict[str, Any] = {"saliency_method": "sliding_window", "saliency_window_size": 2, "saliency_stride": 5}
    [ours] = made(ConvModel(), IMAGES[:1], **values)
    with torch.inference_mode():
        [theirs] = ReferenceStrategy(Sample(saliency_fill="mean", **values), ConvModel().eval(), 3).explain(
            IMAGES[:1], [-1], None
        )
    np.testing.assert_allclose(ours.maps, theirs.maps, atol=1e-6)
    assert (ours.maps == 0).any()


# --- pure -------------------------------------------------------------------------------------------------------------


class MLP(LightningModule):
    """Cheap enough that several images share a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(768, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.network(images))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("model", [MLP(), ConvModel()], ids=["mlp", "cnn"])
@pytest.mark.parametrize("num_masks", [3, 20, 200])
@pytest.mark.parametrize("quality", [None, 0.9])
def test_other_images_do_not_change_a_map(
    model: nn.Module, num_masks: int, quality: float | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any order, and alone in the forward pass that it would share, an image has the same maps to the last bit."""
    monkeypatch.setattr(module, "MIN_MASKS", 32)
    values: dict[str, Any] = {"saliency_method": "rise", "saliency_num_masks": num_masks, "saliency_batch_size": 128,
              "saliency_targets": "all", "saliency_target_quality": quality}  # fmt: skip
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = made(model, **values)
        order = [3, 1, 4, 0, 2]
        shuffled = made(model, IMAGES[order], **values)
        strategy = FusedStrategy(Sample(saliency_fill="mean", **values), model.eval(), len(IMAGES))
        with torch.inference_mode():
            alone = [next(strategy.explain(image[None], [-1], None)) for image in IMAGES]
    finally:
        torch.set_num_threads(before)
    for place, raw in enumerate(together):
        for other in (shuffled[order.index(place)], alone[place]):
            assert np.array_equal(raw.maps, other.maps)
            assert np.array_equal(raw.scores, other.scores)
            assert raw.num_masks == other.num_masks


def test_maps_repeat_bit_for_bit() -> None:
    """A second strategy, with its own probe of the batch size, makes the same bits."""
    first, second = (made(ConvModel(), saliency_method="rise", saliency_num_masks=100) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.maps, b.maps)


def test_blocks_do_not_change_the_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks of another size and without a table of masks, only the last digits differ."""
    values: dict[str, Any] = {"saliency_method": "rise", "saliency_num_masks": 150, "saliency_batch_size": 8}
    expected = made(ConvModel(), **values)
    monkeypatch.setattr(masks, "TABLE_BYTES", 0)
    monkeypatch.setattr(module, "BLOCK_ROWS", 16)
    for ours, theirs in zip(made(ConvModel(), **values), expected, strict=True):
        np.testing.assert_allclose(ours.maps, theirs.maps, atol=1e-5 * np.abs(theirs.maps).max())
        assert np.array_equal(ours.targets, theirs.targets)


def test_all_forward_passes_have_the_same_shape() -> None:
    """Every forward pass of the loop is of one size, no larger than asked for, and no row too many."""
    seen: list[int] = []

    class Watching(ConvModel):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return super().forward(images)

    strategy = FusedStrategy(
        Sample(saliency_method="rise", saliency_num_masks=100, saliency_batch_size=32), Watching().eval(), 5
    )
    with torch.inference_mode():
        next(strategy.explain(IMAGES[:1], [-1], None))  # the formats are tried out here
        seen.clear()
        list(strategy.explain(IMAGES, [-1] * 5, None))
    assert set(seen) == {26}  # 4 passes of 26 for 100 masks and the whole image
    assert len(seen) == 5 * 4


@pytest.mark.parametrize(
    ("rows", "batch_size", "num_images", "early", "expected"),
    [
        (1001, 128, 32, False, (1, 126, 1)),  # 8 passes of 126
        (1001, 8, 32, False, (1, 8, 16)),  # a block of 128 masks for 16 passes
        (51, 512, 32, False, (10, 51, 1)),  # 10 images at a time
        (51, 512, 4, False, (4, 51, 1)),  # no more than there are
        (4097, 512, 32, True, (1, 512, 1)),  # the quality is looked at after each pass, whatever comes together
        (4097, 48, 32, True, (1, 32, 4)),  # or after 128 masks
        (2, 1, 1, False, (1, 1, 128)),
    ],
)
def test_schedules(rows: int, batch_size: int, num_images: int, early: bool, expected: tuple[int, int, int]) -> None:
    """Forward passes are full, of equal size, and shared by images where one does not fill them."""
    made = make_schedule(rows, 4 * 16 * 16, batch_size, num_images, early=early)
    assert (made.num_images, made.num_rows, made.num_passes) == expected


# --- targets, numbers that are none -----------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["predicted", "label", "top2", "all", [2, 0]])
def test_targets_are_chosen_as_in_the_reference(choice: Any) -> None:
    """Every choice gives the classes of the reference, in its order, and the columns of the maps of all classes."""
    model, labels = ConvModel(), [3, 1, 0, 2, 3]
    values: dict[str, Any] = {"saliency_method": "rise", "saliency_targets": choice}
    with torch.inference_mode():
        expected = list(
            ReferenceStrategy(Sample(saliency_fill="mean", **values), model.eval(), 3).explain(IMAGES, labels, None)
        )
    every = made(model, labels=labels, saliency_method="rise", saliency_targets="all")
    for ours, theirs, whole in zip(made(model, labels=labels, **values), expected, every, strict=True):
        assert ours.targets.tolist() == theirs.targets.tolist()
        np.testing.assert_allclose(ours.maps, whole.maps[ours.targets], atol=1e-6)


@pytest.mark.parametrize(
    ("choice", "words"), [([4], "there is no class 4"), ("label", "get_saliency_labels gave none")]
)
def test_targets_that_do_not_exist(choice: Any, words: str) -> None:
    """A class that is not there is an error of the settings."""
    with pytest.raises(RunFailedError, match=words):
        made(ConvModel(), saliency_method="rise", saliency_targets=choice)


class Poisoned(ConvModel):
    """Class 2 has a score that is no number as soon as a bright pixel is hidden."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        bad = images[:, 0, 5, 5] < 0.9
        return torch.where(bad[:, None] & (torch.arange(4) == 2), torch.tensor(torch.nan), logits)


@pytest.mark.parametrize("method", METHODS)
def test_a_score_that_is_not_finite_spoils_its_class_only(method: str) -> None:
    """NaN in one class's score is NaN in its map, and nothing else is touched."""
    images = IMAGES.clone()
    images[:, 0, 5, 5] = 0.95

    class Raw(Sample):
        def get_saliency_scores(self, model: nn.Module, images: Tensor) -> Tensor:
            return cast(Tensor, model(images))

    fill = COLORS if method == "mc_rise" else "zero"
    container = Raw(saliency_method=method, saliency_targets="all", saliency_fill=fill, saliency_num_masks=60)
    with torch.inference_mode():
        for raw in FusedStrategy(container, Poisoned().eval(), 5).explain(images, [-1] * 5, None):
            finite = np.isfinite(raw.maps).all(axis=(1, 2))
            assert finite.tolist() == [True, True, False, True]


def test_constant_scores_give_constant_maps() -> None:
    """A model that does not look at the image has maps that are zero but for rounding."""

    class Blind(RegionModel):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images * 0)

    for method in METHODS:
        for raw in made(Blind(), saliency_method=method):
            assert np.ptp(raw.maps) < 1e-7


# --- as many masks as needed ------------------------------------------------------------------------------------------


def test_it_stops_when_the_quality_is_reached() -> None:
    """Fewer masks than allowed are used, at least the least number, and the quality is reported and true."""
    values: dict[str, Any] = {"saliency_method": "rise", "saliency_grid_size": 4}
    model = ConvModel()
    converged = made(model, saliency_num_masks=16000, saliency_seed=99, **values)
    early = made(model, saliency_num_masks=8000, saliency_target_quality=0.9, **values)
    for raw, truth in zip(early, converged, strict=True):
        assert module.MIN_MASKS <= raw.num_masks < 8000
        assert raw.quality is not None
        measured = np.corrcoef(raw.maps[0].flatten(), truth.maps[0].flatten())[0, 1]
        assert raw.quality[0] >= 0.9
        assert measured >= 0.87
        assert raw.quality[0] == pytest.approx(measured, abs=0.06)


def test_a_higher_target_takes_more_masks_and_the_limit_holds() -> None:
    """The number of masks grows with the target, and never beyond saliency_num_masks."""
    values: dict[str, Any] = {"saliency_method": "rise", "saliency_grid_size": 4}
    numbers = [
        [raw.num_masks for raw in made(ConvModel(), saliency_num_masks=6000, saliency_target_quality=target, **values)]
        for target in (0.5, 0.98, 0.995)
    ]
    assert numbers[0] < numbers[1] < numbers[2]
    limited = made(ConvModel(), saliency_num_masks=400, saliency_target_quality=0.9999, **values)
    assert [raw.num_masks for raw in limited] == [400] * 5


def test_quality_is_reported_without_a_target_too() -> None:
    """All methods with random masks say how good their maps are; more masks are better; windows have no such number."""
    few, many = (made(ConvModel(), saliency_method="rise", saliency_num_masks=n) for n in (100, 3000))
    for a, b in zip(few, many, strict=True):
        assert a.quality is not None
        assert b.quality is not None
        assert a.quality[0] < b.quality[0] <= 1
    [window, *_] = made(ConvModel(), saliency_method="sliding_window", saliency_target_quality=0.9)
    assert window.quality is None
    [one, *_] = made(ConvModel(), saliency_method="rise", saliency_num_masks=1)
    assert one.quality is None


# --- volumes, precision -----------------------------------------------------------------------------------------------


class Flat(ConvModel):
    """Takes volumes of one slice."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images[:, :, 0])


@pytest.mark.parametrize("method", ["rise", "sliding_window"])
def test_a_volume_of_one_slice_has_the_maps_of_the_image(method: str) -> None:
    """Depth 1 gives the two-dimensional result."""
    values: dict[str, Any] = {"saliency_method": method, "saliency_window_size": 4, "saliency_num_masks": 80}
    flat = made(ConvModel(), **values)
    deep = made(Flat(), IMAGES[:, :, None], **values)
    for a, b in zip(flat, deep, strict=True):
        assert b.maps.shape == (1, 1, 16, 16)
        np.testing.assert_allclose(b.maps[:, 0], a.maps, atol=1e-6)


class Region3D(LightningModule):
    """The score of class 1 is the mean over a box."""

    def forward(self, images: Tensor) -> Tensor:
        evidence = 8 * (images[:, :, 2:5, 4:8, 9:13].mean(dim=(1, 2, 3, 4)) - 0.5)
        return torch.stack([-evidence, evidence], dim=1)


@pytest.mark.parametrize("method", ["rise", "random_grid", "sliding_window"])
def test_maps_of_volumes_point_at_what_the_model_reads(method: str) -> None:
    """In a volume the map peaks in the box that the model reads."""
    volumes = torch.rand(2, 1, 8, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.2
    volumes[:, :, 2:5, 4:8, 9:13] = 0.95
    values: dict[str, Any] = {
        "saliency_num_masks": 800,
        "saliency_window_size": 3,
        "saliency_stride": 1,
        "saliency_fill": "zero",
    }
    for raw in made(Region3D(), volumes, saliency_method=method, saliency_grid_size=4, **values):
        depth, row, column = np.unravel_index(raw.maps[0].argmax(), raw.maps[0].shape)
        assert 2 <= depth < 5
        assert 4 <= row < 8
        assert 9 <= column < 13


@pytest.mark.parametrize(("method", "strategy"), [("sliding_radial", "fused"), ("rise", "low_level")])
def test_volumes_where_there_are_no_masks_for_them(method: str, strategy: str) -> None:
    """Discs, and xaitk-saliency itself, refuse volumes, and say what does not."""
    container = Sample(saliency_method=method, saliency_strategy=strategy)
    volumes = torch.rand(2, 1, 8, 16, 16)
    with pytest.raises(RunFailedError, match="volumes"), torch.inference_mode():
        list(create_strategy(container, Region3D(), volumes, 2).explain(volumes, [-1, -1], None))


def test_windows_equal_those_of_monai_in_their_definition() -> None:
    """With boxes that tile the volume, the map is the drop of the score box by box, written out by hand."""
    volume = torch.rand(1, 1, 4, 8, 8, generator=torch.Generator().manual_seed(3))

    class Dense(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.head = nn.Linear(256, 3)

        def forward(self, images: Tensor) -> Tensor:
            return cast(Tensor, self.head(images.flatten(1)))

    model = Dense().eval()
    values: dict[str, Any] = {"saliency_method": "sliding_window", "saliency_window_size": 2, "saliency_stride": 2}
    [raw] = made(model, volume, saliency_fill=0.0, saliency_targets=[1], **values)
    with torch.inference_mode():
        whole = model(volume).softmax(dim=1)[0, 1]
        for d, h, w in ((0, 0, 0), (1, 2, 3), (0, 3, 1)):
            hidden = volume.clone()
            box = (slice(2 * d, 2 * d + 2), slice(2 * h, 2 * h + 2), slice(2 * w, 2 * w + 2))
            hidden[(0, 0, *box)] = 0
            drop = whole - model(hidden).softmax(dim=1)[0, 1]
            np.testing.assert_allclose(raw.maps[(0, *box)], drop.item(), atol=1e-6)


def test_fast_says_how_well_it_agrees() -> None:
    """saliency_precision=fast gives nearly the same maps, and measures how near on the first images."""
    values: dict[str, Any] = {"saliency_method": "rise", "saliency_num_masks": 60, "saliency_fill": "mean"}
    strategy = FusedStrategy(Sample(saliency_precision="fast", **values), ConvModel().eval(), 5)
    with torch.inference_mode():
        fast = list(strategy.explain(IMAGES, [-1] * 5, None))
    exact = made(ConvModel(), **values)
    assert len(strategy.agreement) == 2
    measured = [
        np.corrcoef(a.maps[0].flatten(), b.maps[0].flatten())[0, 1] for a, b in zip(fast[:2], exact[:2], strict=True)
    ]
    np.testing.assert_allclose(strategy.agreement, measured, atol=1e-5)
    assert min(measured) > 0.999


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_other_types(dtype: torch.dtype) -> None:
    """A model in double or half precision gets images of its type; masks and sums stay in float32."""
    exact = made(ConvModel(), saliency_method="rise")
    other = made(ConvModel().to(dtype), IMAGES.to(dtype), saliency_method="rise")
    for a, b in zip(exact, other, strict=True):
        assert np.corrcoef(a.maps[0].flatten(), b.maps[0].flatten())[0, 1] > 0.97


def test_autocast_touches_the_model_only() -> None:
    """Under the Trainer's mixed precision, masks are still exact: a model that stays in float32 has the same maps."""

    class Stubborn(ConvModel):
        def forward(self, images: Tensor) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                return super().forward(images)

    model = Stubborn()
    expected = made(model, saliency_method="rise")
    with torch.autocast("cpu", torch.bfloat16):
        for ours, theirs in zip(made(model, saliency_method="rise"), expected, strict=True):
            np.testing.assert_allclose(ours.maps, theirs.maps, atol=1e-5 * np.abs(theirs.maps).max())


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what makes a host wait for its device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "masked_select", "equal"):
            self.waits.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("table_bytes", [0, 2**24])
def test_nothing_waits_for_the_device_inside_the_loop(
    method: str, table_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the engine is there, no step of the loop asks for a value, which on a GPU would let it run dry."""
    monkeypatch.setattr(masks, "TABLE_BYTES", table_bytes)
    fill: Any = COLORS if method == "mc_rise" else "mean"
    container = Sample(saliency_method=method, saliency_num_masks=200, saliency_fill=fill)
    strategy = FusedStrategy(container, ConvModel().eval(), 5)
    with torch.inference_mode():
        list(strategy.explain(IMAGES, [-1] * 5, None))
        with _Watch() as watch:
            list(strategy.explain(IMAGES, [-1] * 5, None))
    assert watch.waits == []
