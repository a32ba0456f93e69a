"""Which of xaitk-saliency's implementations a ``saliency_method`` stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smqtk_core.configuration import from_config_dict
from xaitk_saliency.impls.gen_classifier_conf_sal.mc_rise_scoring import MCRISEScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.occlusion_scoring import OcclusionScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.rise_scoring import RISEScoring
from xaitk_saliency.impls.perturb_image.mc_rise import MCRISEGrid
from xaitk_saliency.impls.perturb_image.random_grid import RandomGrid
from xaitk_saliency.impls.perturb_image.rise import RISEGrid
from xaitk_saliency.impls.perturb_image.sliding_radial import SlidingRadial
from xaitk_saliency.impls.perturb_image.sliding_window import SlidingWindow
from xaitk_saliency.interfaces.gen_classifier_conf_sal import GenerateClassifierConfidenceSaliency
from xaitk_saliency.interfaces.gen_descriptor_sim_sal import GenerateDescriptorSimilaritySaliency
from xaitk_saliency.interfaces.gen_detector_prop_sal import GenerateDetectorProposalSaliency
from xaitk_saliency.interfaces.gen_image_classifier_blackbox_sal import GenerateImageClassifierBlackboxSaliency
from xaitk_saliency.interfaces.perturb_image import PerturbImage

from runner.errors import RunFailedError
from runner.saliency.occlusion import Fill, fill_colors
from runner.saliency.scoring import RawScoring

if TYPE_CHECKING:
    from runner.container import LightningContainer

SCORINGS: tuple[Any, ...] = (
    GenerateClassifierConfidenceSaliency,
    GenerateDetectorProposalSaliency,
    GenerateDescriptorSimilaritySaliency,
)
"""What may turn scores, detections or descriptors into maps."""


@dataclass(frozen=True)
class Method:
    """A method in its three steps: masks, the fill of what they hide, maps from the scores."""

    perturber: PerturbImage
    scoring: RawScoring
    fill: Fill
    every_class: bool = False
    """Whether the scoring must see the scores of all classes, not only of those to explain."""


@dataclass(frozen=True)
class BlackBox:
    """A method that makes the maps by itself, as xaitk-saliency's stacks do."""

    generator: GenerateImageClassifierBlackboxSaliency
    fill: Fill


def create_method(container: LightningContainer, num_channels: int) -> Method | BlackBox:
    """Return what makes the maps for the container's ``saliency_`` parameters.

    Threads stay off in xaitk-saliency: with them its masks do not always honour the seed, and are no faster.

    Args:
        container: The container.
        num_channels: Channels of the images, for the colours of ``mc_rise``.

    Raises:
        RunFailedError: ``saliency_fill`` does not fit the channels, or ``get_saliency_generator`` returned something
            else than what it may.
    """
    if container.saliency_method == "custom":
        return _custom_method(container)
    masks: dict[str, Any] = {"seed": container.saliency_seed, "threads": 0, "p1": container.saliency_mask_probability}
    masks["n"] = container.saliency_num_masks
    size, stride = container.saliency_window_size, container.saliency_stride
    grid_size = container.saliency_grid_size
    scoring: GenerateClassifierConfidenceSaliency = RISEScoring(p1=container.saliency_mask_probability)
    perturber: PerturbImage
    match container.saliency_method:
        case "rise":
            perturber = RISEGrid(s=grid_size, **masks)
        case "random_grid":
            perturber = RandomGrid(s=(grid_size, grid_size), **masks)
        case "mc_rise":
            num_colors = len(fill_colors(container.saliency_fill, num_channels))
            perturber = MCRISEGrid(s=grid_size, k=num_colors, **masks)
            scoring = MCRISEScoring(k=num_colors, p1=container.saliency_mask_probability)
        case "sliding_window":
            perturber, scoring = SlidingWindow((size, size), (stride, stride)), OcclusionScoring()
        case "sliding_radial":
            perturber, scoring = SlidingRadial((size, size), (stride, stride)), OcclusionScoring()
        case other:
            raise ValueError(f"no saliency method is called {other!r}")
    return Method(perturber, RawScoring(scoring, centered=container.saliency_centered), container.saliency_fill)


def describe_method(container: LightningContainer) -> str:
    """Return the method in a few words, such as ``RISE 500 masks``."""
    window = f"{container.saliency_window_size} px, stride {container.saliency_stride}"
    masks = f"{container.saliency_num_masks} masks"
    if container.saliency_target_quality is not None:
        masks = f"up to {masks} for a quality of {container.saliency_target_quality:g}"
    names = {
        "rise": f"RISE {masks}",
        "mc_rise": f"MC-RISE {masks}",
        "random_grid": f"random grid {masks}",
        "drise": f"D-RISE {masks}",
        "sliding_window": f"sliding window {window}",
        "sliding_radial": f"sliding radial {window}",
        "sbsm": f"SBSM {window}",
        "occlusion": f"occlusion {window}",
        "integrated_gradients": f"integrated gradients {container.saliency_num_steps} steps",
        "grad_cam": f"Grad-CAM {container.saliency_layer or 'last convolution'}",
    }
    return names.get(container.saliency_method, "custom method")


def custom_implementation(container: LightningContainer) -> Any:
    """Return what ``get_saliency_generator`` gave, with its configurations made into objects.

    Raises:
        RunFailedError: a configuration cannot be used.
    """
    given = container.get_saliency_generator()
    if isinstance(given, Mapping) and {"perturber", "generator"} <= set(given):
        given = (given["perturber"], given["generator"])
    if isinstance(given, Mapping):
        return _configured(given, GenerateImageClassifierBlackboxSaliency)
    if isinstance(given, Sequence) and len(given) == 2:
        perturber, scoring = given
        kind = next((each for each in SCORINGS if _is_of(scoring, each)), SCORINGS[0])
        return _configured(perturber, PerturbImage), _configured(scoring, kind)
    return given


def _custom_method(container: LightningContainer) -> Method | BlackBox:
    made = custom_implementation(container)
    if isinstance(made, GenerateImageClassifierBlackboxSaliency):
        return BlackBox(made, container.saliency_fill)
    match made:
        case PerturbImage() as perturber, GenerateClassifierConfidenceSaliency() as scoring:
            raw = RawScoring(scoring, centered=container.saliency_centered)
            return Method(perturber, raw, container.saliency_fill, every_class=True)
    raise RunFailedError(
        f"get_saliency_generator returned {made!r}, not a pair of xaitk-saliency's PerturbImage and one of "
        f"{', '.join(each.__name__ for each in SCORINGS)}, nor a GenerateImageClassifierBlackboxSaliency, nor their "
        "configuration."
    )


def _is_of(given: Any, interface: Any) -> bool:
    """Tell whether *given* is the configuration of an implementation of *interface*."""
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in interface.get_impls()}
    return isinstance(given, Mapping) and given.get("type") in kinds


def _configured(given: Any, interface: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    try:
        return from_config_dict(dict(given), interface.get_impls())
    except (ValueError, TypeError) as error:
        raise RunFailedError(
            f"get_saliency_generator: this is no configuration of a {interface.__name__}: {dict(given)}\n{error}"
        ) from error
