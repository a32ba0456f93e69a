"""What a saliency method stands for: masks, fill, scoring, and the strength that scoring keeps."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from smqtk_core.configuration import to_config_dict
from xaitk_saliency.impls.gen_classifier_conf_sal.mc_rise_scoring import MCRISEScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.occlusion_scoring import OcclusionScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.rise_scoring import RISEScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.squared_difference_scoring import SquaredDifferenceScoring
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise import RISEStack
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.slidingwindow import SlidingWindowStack
from xaitk_saliency.impls.perturb_image.mc_rise import MCRISEGrid
from xaitk_saliency.impls.perturb_image.rise import RISEGrid
from xaitk_saliency.impls.perturb_image.sliding_window import SlidingWindow

from runner.container import LightningContainer
from runner.errors import ParameterError, RunFailedError
from runner.saliency.explanation import scaled_maps
from runner.saliency.methods import BlackBox, Method, create_method, describe_method
from runner.saliency.occlusion import fill_colors, fill_values, occlude
from runner.saliency.raw_maps import strongest_color
from runner.saliency.scoring import RawScoring
from tests.saliency_samples import Sample

Array = NDArray[Any]
IMAGE = np.random.default_rng(0).normal(size=(16, 12, 3)).astype(np.float32)


def method_of(**values: Any) -> Method:
    method = create_method(Sample(**values), num_channels=3)
    assert isinstance(method, Method)
    return method


class Custom(Sample):
    given: Any = None

    def get_saliency_generator(self) -> Any:
        return self.given


def custom(given: Any) -> Method | BlackBox:
    container = Custom(saliency_method="custom")
    container.given = given
    return create_method(container, num_channels=3)


# --- parameters to implementations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "perturber", "scoring"),
    [
        (
            {"saliency_method": "rise"},
            {"n": 40, "s": 4, "p1": 0.3, "seed": 5, "threads": 0},
            ("RISEScoring", {"p1": 0.3}),
        ),
        (
            {"saliency_method": "random_grid"},
            {"n": 40, "s": (4, 4), "p1": 0.3, "seed": 5, "threads": 0},
            ("RISEScoring", {"p1": 0.3}),
        ),
        (
            {"saliency_method": "mc_rise", "saliency_fill": [0, 0, 0, 1, 1, 1]},
            {"n": 40, "s": 4, "p1": 0.3, "k": 2, "seed": 5, "threads": 0},
            ("MCRISEScoring", {"p1": 0.3, "k": 2}),
        ),
        ({"saliency_method": "sliding_window"}, {"window_size": [4, 4], "stride": [2, 2]}, ("OcclusionScoring", {})),
        (
            {"saliency_method": "sliding_radial"},
            {"radius": [4, 4], "stride": [2, 2], "sigma": None},
            ("OcclusionScoring", {}),
        ),
    ],
)
def test_parameters_reach_the_implementation(
    values: dict[str, Any], perturber: dict[str, Any], scoring: tuple[str, dict[str, Any]]
) -> None:
    """Each method is xaitk-saliency's implementation with the container's values, and without threads."""
    method = method_of(saliency_mask_probability=0.3, saliency_seed=5, **values)
    assert method.perturber.get_config() == perturber
    assert (type(method.scoring.scoring).__name__, method.scoring.scoring.get_config()) == scoring


def test_masks_follow_the_seed() -> None:
    """The same seed gives the same masks for every image of a size, another seed gives others."""
    first, again, other = (
        method_of(saliency_method="rise", saliency_seed=seed).perturber.perturb(IMAGE) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_descriptions_say_what_takes_the_time() -> None:
    """The few words for the log hold the number of masks or the size of the window."""
    assert describe_method(Sample(saliency_method="rise")) == "RISE 40 masks"
    assert describe_method(Sample(saliency_method="sliding_window")) == "sliding window 4 px, stride 2"


# --- custom -----------------------------------------------------------------------------------------------------------


def test_custom_pair_and_its_configurations_are_the_same() -> None:
    """A pair of objects, a pair of configurations and one configuration with both come out the same."""
    pair = RISEGrid(n=5, s=3, p1=0.5, seed=1, threads=0), OcclusionScoring()
    configs = [json.loads(json.dumps(to_config_dict(each))) for each in pair]
    for given in (pair, configs, {"perturber": configs[0], "generator": configs[1]}):
        method = custom(given)
        assert isinstance(method, Method)
        assert method.perturber.get_config() == pair[0].get_config()
        assert isinstance(method.scoring.scoring, OcclusionScoring)
        assert method.every_class


def test_custom_black_box_from_json() -> None:
    """The JSON configuration of a black box gives that black box."""
    stack = SlidingWindowStack((3, 3), (2, 2))
    method = custom(json.loads(json.dumps(to_config_dict(stack))))
    assert isinstance(method, BlackBox)
    assert method.generator.get_config() == stack.get_config()
    own = RISEStack(n=5, s=3, p1=0.5)
    taken = custom(own)
    assert isinstance(taken, BlackBox)
    assert taken.generator is own


@pytest.mark.parametrize(
    "given",
    [None, 3, "RISE", (OcclusionScoring(), RISEGrid(n=1, s=1, p1=0.5)), {"type": "no.such.Class", "no.such.Class": {}}],
)
def test_custom_refuses_anything_else(given: Any) -> None:
    """What is no implementation is refused in words that name the method of the container."""
    with pytest.raises(RunFailedError, match="get_saliency_generator"):
        custom(given)


def test_custom_needs_the_container_to_define_it() -> None:
    """saliency_method=custom is refused before anything runs when the container has no generator."""

    class Without(LightningContainer):
        pass

    container = Without()  # type: ignore[no-untyped-call]
    container.saliency_method = "custom"
    with pytest.raises(ParameterError, match="Without must define get_saliency_generator"):
        container.validate()
    Custom(saliency_method="custom").validate()


# --- fill -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("zero", np.zeros((16, 12, 3))),
        (-0.25, np.full((16, 12, 3), -0.25)),
        ([0.1, -2.0, 3.0], np.broadcast_to([0.1, -2.0, 3.0], (16, 12, 3))),
        ("mean", np.broadcast_to(IMAGE.mean(axis=(0, 1)), (16, 12, 3))),
    ],
)
@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_hidden_pixels_have_the_fill(fill: Any, expected: Array, dtype: Any) -> None:
    """Where a mask is 0 stands the fill, also a negative one; where it is 1 the image as it was."""
    masks = np.ones((2, 16, 12), dtype=dtype)
    masks[0] = 0
    hidden, visible = occlude(IMAGE, masks, fill)
    np.testing.assert_allclose(hidden, expected, rtol=1e-6)
    assert hidden.dtype == np.float32
    assert np.array_equal(visible, IMAGE)


def test_blur_hides_details_and_keeps_the_mean() -> None:
    """The blurred image varies far less than the image, around the same colour."""
    blurred = fill_values("blur", IMAGE)
    assert blurred is not None
    assert blurred.shape == IMAGE.shape
    assert blurred.std() < 0.3 * IMAGE.std()
    np.testing.assert_allclose(blurred.mean(axis=(0, 1)), IMAGE.mean(axis=(0, 1)), atol=0.1)


@pytest.mark.parametrize("fill", [[0.1, 0.2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
def test_fill_must_fit_the_channels(fill: list[float]) -> None:
    """A wrong number of values is refused with both numbers."""
    with pytest.raises(RunFailedError, match=rf"saliency_fill has {len(fill)} numbers.* 3 channels"):
        fill_values(fill, IMAGE)


def test_colors_of_mc_rise() -> None:
    """A number is one colour; numbers are colours one after the other; what makes no whole colours is refused."""
    assert fill_colors(0.5, 3).tolist() == [[0.5, 0.5, 0.5]]
    assert fill_colors([1, 2, 3, 4, 5, 6], 3).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert fill_colors([1, 2], 1).tolist() == [[1], [2]]
    with pytest.raises(RunFailedError, match="3 per colour"):
        fill_colors([1, 2, 3, 4], 3)
    with pytest.raises(ParameterError, match="mc_rise"):
        Sample(saliency_method="mc_rise", saliency_fill="mean").validate()


def test_mc_rise_mixes_colors_where_masks_are_soft() -> None:
    """Each colour counts with what its own mask hides, the image with the rest."""
    masks = np.ones((2, 1, 16, 12))
    masks[0, 0, :8], masks[1, 0, :8] = 0.75, 0.5
    [mixed] = occlude(IMAGE, masks, [10, 10, 10, -20, -20, -20])
    np.testing.assert_allclose(mixed[:8], 0.25 * IMAGE[:8] + 0.25 * 10 - 0.5 * 20, rtol=1e-5)
    assert np.array_equal(mixed[8:], IMAGE[8:])


# --- scoring and strength ---------------------------------------------------------------------------------------------


def scores_of(num_masks: int, num_classes: int = 3) -> tuple[Array, Array]:
    generator = np.random.default_rng(3)
    reference = generator.random(num_classes, dtype=np.float32)
    return reference, generator.random((num_masks, num_classes), dtype=np.float32)


def test_rise_strength_is_the_gain_where_visible() -> None:
    """The raw map is the sum of f (m - p), divided by the number of masks and p, and scales to xaitk-saliency's."""
    masks = RISEGrid(n=30, s=3, p1=0.4, seed=0, threads=0).perturb(IMAGE)
    reference, perturbed = scores_of(30)
    raw = RawScoring(RISEScoring(p1=0.4), centered=False).generate(reference, perturbed, masks)
    np.testing.assert_allclose(raw, np.einsum("nc,nhw->chw", perturbed, masks - 0.4) / (30 * 0.4), atol=1e-6)
    expected = RISEScoring(p1=0.4).generate(reference, perturbed, masks)
    np.testing.assert_allclose(scaled_maps(raw).maps, expected, atol=1e-6)


def test_occlusion_strength_is_the_drop_of_the_score() -> None:
    """A window that takes 0.6 from the score makes a map of strength 0.6, whatever is centred."""
    masks = SlidingWindow((4, 4), (4, 4)).perturb(IMAGE)
    reference = np.array([0.9, 0.1], dtype=np.float32)
    perturbed = np.tile(reference, (len(masks), 1))
    perturbed[5] = 0.3, 0.7
    raw = RawScoring(OcclusionScoring(), centered=True).generate(reference, perturbed, masks)
    assert raw[0][~masks[5]] == pytest.approx(0.6)
    assert raw[1][~masks[5]] == pytest.approx(-0.6)
    assert np.abs(raw[:, masks[5]]).max() == 0


def test_mc_rise_strength_per_color() -> None:
    """The raw maps are xaitk-saliency's sums, divided by the number of masks and p (1 - p)."""
    masks = MCRISEGrid(n=30, s=3, p1=0.4, k=2, seed=0, threads=0).perturb(IMAGE)
    reference, perturbed = scores_of(30)
    raw = RawScoring(MCRISEScoring(k=2, p1=0.4), centered=False).generate(reference, perturbed, masks)
    hidden = 1 - masks
    weights = 2 * hidden * 0.6 - (1 - hidden.sum(axis=0)) * 0.4
    expected = np.einsum("nc,knhw->kchw", perturbed, weights) / (30 * 0.4 * 0.6)
    np.testing.assert_allclose(raw, expected, atol=1e-6)


@pytest.mark.parametrize("scoring", [RISEScoring(p1=0.5), RISEScoring(), OcclusionScoring()])
def test_strength_does_not_grow_with_the_number_of_masks(scoring: Any) -> None:
    """Every mask twice gives the same raw maps."""
    masks = RISEGrid(n=20, s=3, p1=0.5, seed=0, threads=0).perturb(IMAGE)
    reference, perturbed = scores_of(20)
    once = RawScoring(scoring).generate(reference, perturbed, masks)
    twice = RawScoring(scoring).generate(reference, np.tile(perturbed, (2, 1)), np.tile(masks, (2, 1, 1)))
    np.testing.assert_allclose(once, twice, atol=1e-6)


@pytest.mark.parametrize("kind", ["rise", "mc_rise"])
def test_centring_takes_the_masks_out_of_the_map(kind: str) -> None:
    """Scores that are all the same give a map of the masks without centring, and none with it."""
    grid: Any = RISEGrid(n=20, s=3, p1=0.3, seed=0, threads=0)
    scoring: Any = RISEScoring(p1=0.3)
    if kind == "mc_rise":
        grid, scoring = MCRISEGrid(n=20, s=3, p1=0.3, k=2, seed=0, threads=0), MCRISEScoring(k=2, p1=0.3)
    masks = grid.perturb(IMAGE)
    reference, perturbed = np.full(1, 0.7, np.float32), np.full((20, 1), 0.7, np.float32)
    plain, centered = (
        RawScoring(scoring, centered=centered).generate(reference, perturbed, masks) for centered in (False, True)
    )
    if kind == "mc_rise":
        plain, centered = strongest_color(plain), strongest_color(centered)
    without, with_centring = scaled_maps(plain), scaled_maps(centered)
    assert without.flags.tolist() == ["ok"]
    assert without.strength[0] > 0.05
    assert with_centring.flags.tolist() == ["constant"]
    assert not with_centring.maps.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scoring", [RISEScoring(p1=0.5), OcclusionScoring()])
def test_a_score_that_is_not_finite_spoils_its_class_only(scoring: Any, value: float) -> None:
    """One NaN or infinite score makes the map of its class NaN, never another, and raises nothing."""
    masks = RISEGrid(n=20, s=3, p1=0.5, seed=0, threads=0).perturb(IMAGE)
    reference, perturbed = scores_of(20)
    expected = RawScoring(scoring).generate(reference, perturbed, masks)
    perturbed[7, 1] = value
    maps = RawScoring(scoring).generate(reference, perturbed, masks)
    assert np.isnan(maps[1]).all()
    assert np.array_equal(maps[[0, 2]], expected[[0, 2]])
    result = scaled_maps(maps)
    assert result.flags.tolist() == ["ok", "not_finite", "ok"]
    assert np.isfinite(result.maps).all()


def test_scoring_with_one_map_for_all_classes() -> None:
    """SquaredDifferenceScoring's single map is passed on, NaN when scores are not finite or never change."""
    masks = SlidingWindow((4, 4), (4, 4)).perturb(IMAGE)
    reference, perturbed = scores_of(len(masks))
    scoring = SquaredDifferenceScoring()
    maps = RawScoring(scoring).generate(reference, perturbed, masks)
    assert np.array_equal(maps, scoring.generate(reference, perturbed, masks))
    assert np.isnan(RawScoring(scoring).generate(reference, np.tile(reference, (len(masks), 1)), masks)).all()
    perturbed[0, 0] = np.nan
    assert np.isnan(RawScoring(scoring).generate(reference, perturbed, masks)).all()


def test_raw_scoring_goes_through_json() -> None:
    """The configuration of a RawScoring makes the same one again."""
    config = json.loads(json.dumps(RawScoring(RISEScoring(p1=0.3), centered=False).get_config()))
    again = RawScoring.from_config(config)
    assert isinstance(again.scoring, RISEScoring)
    assert (again.scoring.p1, again.centered) == (0.3, False)


def test_colors_are_summed_up_by_the_strongest() -> None:
    """Of MC-RISE's maps the one with the larger effect counts at each pixel, with the sign of evidence."""
    raw = np.zeros((2, 1, 2, 2))
    raw[0, 0] = np.array([[-0.4, 0.1], [0, 0]])
    raw[1, 0] = np.array([[0.2, -0.1], [0.3, 0]])
    result = scaled_maps(strongest_color(raw))
    np.testing.assert_allclose(result.maps[0], np.array([[1, -0.25], [-0.75, 0]]))
    assert result.strength.tolist() == pytest.approx([0.4])
