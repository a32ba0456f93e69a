"""Pictures: what their colours mean, and that they hold what they should at sizes that can be read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from runner.saliency.colors import GREYS, blend, color_of, displayed, greyed
from runner.saliency.explanation import Explanation, scaled_maps
from runner.saliency.pictures import (
    MAX_PANEL_SIZE,
    PANEL_SIZE,
    SHEET_PANEL_SIZE,
    draw_contact_sheet,
    draw_overlay,
    full_color,
    overlay_places,
    save,
    sheet_places,
)
from tests.saliency_samples import make_explanation

Array = NDArray[Any]
WRONG = (190, 20, 90)


def has_color(picture: Image.Image, color: tuple[int, int, int]) -> bool:
    return bool((np.array(picture) == color).all(axis=-1).any())


# --- colours ----------------------------------------------------------------------------------------------------------


def test_zero_is_transparent_and_strength_is_opaque() -> None:
    """Zero shows the picture as it is; the further from zero, the less of it is left, the same on both sides."""
    values = np.array([-2, -1, -0.5, 0, 0.5, 1, 2.0])
    _, alpha = color_of(values)
    assert alpha[3] == 0
    assert alpha.tolist() == alpha[::-1].tolist()
    assert (np.diff(alpha[3:6]) > 0).all()
    assert alpha[5] == alpha[6]
    picture = np.full((1, 7, 3), 200, dtype=np.uint8)
    assert blend(picture, values[None])[0, 3].tolist() == [200, 200, 200]


def test_signs_differ_for_the_colour_blind() -> None:
    """Under simulated protanopia and deuteranopia both ends stay far apart (matrices of Machado et al. 2009)."""
    colors, _ = color_of(np.array([-1.0, -0.5, 0.5, 1.0]))
    protanopia = [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    deuteranopia = [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    for matrix in (np.eye(3), np.array(protanopia), np.array(deuteranopia)):
        seen = np.clip(255 * ((colors / 255) ** 2.2 @ matrix.T).clip(0) ** (1 / 2.2), 0, 255)
        assert np.linalg.norm(seen[0] - seen[3]) > 120
        assert np.linalg.norm(seen[1] - seen[2]) > 120


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 100.0, 255.0], [0, 100, 255]), ([-2.0, 0.0, 2.0], [0, 128, 255])],
)
def test_images_of_any_range_are_displayed(pixels: list[float], expected: list[int]) -> None:
    """Values from 0 to 1 and from 0 to 255 are taken as they are, normalised ones are stretched."""
    image = np.array([[pixels]] * 3, dtype=np.float32)
    assert displayed(image)[0, :, 1].tolist() == expected


@pytest.mark.parametrize("num_channels", [1, 2, 4])
def test_images_without_three_channels_are_grey(num_channels: int) -> None:
    """Any other number of channels is shown as the mean over them."""
    image = np.linspace(0, 1, num_channels * 4).reshape(num_channels, 2, 2).astype(np.float32)
    shown = displayed(image)
    assert shown.shape == (2, 2, 3)
    assert np.abs(shown[..., 0] - 255 * image.mean(axis=0)).max() <= 0.5
    assert (shown == shown[..., :1]).all()


def test_flat_images_are_displayed_without_a_warning() -> None:
    """An image of one value, also of one beyond the usual ranges, has a picture."""
    for value in (0.0, 0.3, 300.0, -1.0):
        assert displayed(np.full((3, 4, 4), value, dtype=np.float32)).shape == (4, 4, 3)
        grey = greyed(np.full((4, 4, 3), 90, dtype=np.uint8))
        assert GREYS[0] <= grey.min() <= grey.max() <= GREYS[1]


def test_full_colour_belongs_to_the_data_set() -> None:
    """One map a hundred times as strong as the others does not pale them; NaN and nothing do no harm."""
    assert full_color([0.2] * 99 + [20.0]) == pytest.approx(0.2)
    assert full_color([0.2, float("nan")]) == pytest.approx(0.2)
    assert full_color([]) == full_color([0.0]) == 1.0


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_overlay_colors_follow_the_strength() -> None:
    """The same map with a tenth of the strength is drawn with far weaker colours on the same scale."""
    pale, strong = (
        np.array(draw_overlay(make_explanation(strength=np.array([value], np.float32)), full=0.5)).astype(float)
        for value in (0.05, 0.5)
    )
    colorfulness = [np.ptp(picture[40:-10, -100:-10], axis=-1).mean() for picture in (pale, strong)]
    assert colorfulness[1] > 4 * colorfulness[0]


def test_small_images_are_enlarged_without_smoothing() -> None:
    """An 8 x 8 image is drawn at 192 x 192 in blocks of its own colours."""
    explanation = make_explanation()
    picture = np.array(draw_overlay(explanation, full=1.0))
    panel = picture[-PANEL_SIZE - 6 : -6, 6 : PANEL_SIZE + 6]
    blocks = panel.reshape(8, 24, 8, 24, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert np.array_equal(blocks[:, 0, :, 0], displayed(explanation.image))


@pytest.mark.parametrize("size", [(600, 300), (1, 1), (8, 700), (193, 192)])
def test_images_of_any_size_are_drawn(size: tuple[int, int]) -> None:
    """Large images are made smaller, tiny and long ones do not break the drawing."""
    image = np.random.default_rng(0).random((3, *size), dtype=np.float32)
    maps = np.ones((1, *size), dtype=np.float32)
    explanation = make_explanation(image=image, maps=maps, truth=np.ones(size, dtype=bool))
    picture = draw_overlay(explanation, full=1.0)
    assert picture.width <= 2 * MAX_PANEL_SIZE + 300
    assert picture.height <= MAX_PANEL_SIZE + 60
    assert draw_contact_sheet([explanation], 1.0, "title").width > 300


def test_the_truth_is_outlined_sharply() -> None:
    """A black line runs along the outside of the truth and a white one along its inside, the middle stays free."""
    truth = np.zeros((8, 8), dtype=bool)
    truth[2:6, 2:6] = True
    image = np.full((3, 8, 8), 0.5, dtype=np.float32)
    panel = np.array(draw_overlay(make_explanation(image=image, truth=truth), full=1.0))[-198:-6, 6:198]
    middle = panel[:, 96, 0].tolist()
    assert middle[46:50] == [128, 0, 255, 128]
    assert middle[142:146] == [128, 255, 0, 128]
    assert panel[96, 96].tolist() == [128, 128, 128]


def test_the_outline_of_a_large_image_is_drawn_at_the_size_shown() -> None:
    """Also on a panel that was made smaller the lines are black and white, one pixel wide."""
    truth = np.zeros((1024, 1024), dtype=bool)
    truth[256:768, 256:768] = True
    fields: dict[str, Any] = {"image": np.full((3, 1024, 1024), 0.5, np.float32), "maps": np.zeros((1, 1024, 1024))}
    panel = np.array(draw_overlay(make_explanation(0, **fields, truth=truth), full=1.0))[-518:-6, 6:518]
    assert panel[256, 126:130, 0].tolist() == [128, 0, 255, 128]


def test_an_empty_truth_has_no_outline() -> None:
    """Nothing is drawn for a truth without a pixel."""
    without, empty = make_explanation(), make_explanation(truth=np.zeros((8, 8), dtype=bool))
    assert np.array_equal(np.array(draw_overlay(without, 1.0)), np.array(draw_overlay(empty, 1.0)))


def test_several_targets_have_a_panel_each() -> None:
    """The maps of the four classes with the highest scores are drawn side by side, the best first."""
    maps = np.zeros((6, 8, 8), dtype=np.float32)
    fields: dict[str, Any] = {"maps": maps, "strength": np.ones(6, np.float32), "flags": np.array(["ok"] * 6)}
    scores = np.array([0.05, 0.3, 0.1, 0.2, 0.15, 0.2], np.float32)
    picture = draw_overlay(make_explanation(**fields, targets=np.arange(6), scores=scores), full=1.0)
    assert picture.width == 6 + 5 * (PANEL_SIZE + 6)


def test_wrong_predictions_are_marked() -> None:
    """A wrong one is framed and written in another colour, a right one and one without label are not."""
    right, wrong, unknown = (draw_contact_sheet([make_explanation(label=label)], 1.0, "t") for label in (1, 0, -1))
    assert has_color(wrong, WRONG)
    assert not has_color(right, WRONG)
    assert not has_color(unknown, WRONG)


def flagged_maps(value: float, size: tuple[int, ...] = (8, 8)) -> dict[str, Any]:
    return dict(zip(("maps", "strength", "flags"), scaled_maps(np.full((1, *size), value)), strict=True))


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_flagged_maps_are_crossed_out(value: float) -> None:
    """A map that points nowhere is crossed out instead of shown as one without evidence."""
    flagged = make_explanation(0, **flagged_maps(value))
    assert has_color(draw_overlay(flagged, 1.0), WRONG)
    assert not has_color(draw_overlay(make_explanation(), 1.0), WRONG)


# --- volumes ----------------------------------------------------------------------------------------------------------


def volume(**values: Any) -> Explanation:
    """Return a volume of 6 slices of 8 x 8, with two maps that peak in slices 4 and 1; each slice has its own grey."""
    image = np.broadcast_to(np.linspace(0, 1, 6, dtype=np.float32)[None, :, None, None], (1, 6, 8, 8))
    maps = np.zeros((2, 6, 8, 8), np.float32)
    maps[0, 4, 2, 3] = maps[1, 1, 5, 5] = 1
    fields: dict[str, Any] = {"image": image, "maps": maps, "targets": np.array([1, 0])}
    fields |= {"strength": np.ones(2, np.float32), "flags": np.array(["ok", "ok"])}
    return make_explanation(**(fields | values))


def panels_of(picture: Image.Image, number: int) -> list[Array]:
    """Return the panels of an overlay, at the size of the volume's slices."""
    column = (picture.width - 6) // number
    pixels = np.array(picture)[-PANEL_SIZE - 6 : -6]
    return [pixels[12::24, 6 + each * column + 12 : 6 + each * column + PANEL_SIZE : 24] for each in range(number)]


def test_a_volume_is_shown_at_the_peaks_of_its_maps() -> None:
    """The image is shown at the peak of its main map, each map on the slice of its own peak."""
    dots = volume().image.copy()
    for depth in range(6):
        dots[0, depth, 7, depth] = 1 - dots[0, depth, 0, 0]
    image, first, second = panels_of(draw_overlay(volume(image=dots), full=1.0), 3)
    assert (image[:7] == 204).all()  # slice 4 of 0 to 5
    assert np.argwhere(np.ptp(first, axis=-1) > 0).tolist() == [[2, 3]]
    assert np.argwhere(np.ptp(second, axis=-1) > 0).tolist() == [[5, 5]]
    assert [np.argwhere(each[7, :, 0] != each[0, 0, 0]).item() for each in (image, first, second)] == [4, 4, 1]


def test_slices_of_a_normalised_volume_share_a_scale() -> None:
    """A dark slice of a volume with values beyond 0 to 1 stays dark."""
    values = np.linspace(-1, 3, 6, dtype=np.float32)[None, :, None, None]
    image = panels_of(draw_overlay(volume(image=np.broadcast_to(values, (1, 6, 8, 8)), label=0), full=1.0), 3)[0]
    assert (image == 51).all()  # slice 1


def test_a_flagged_volume_is_shown_in_the_middle() -> None:
    """Where no map has a peak the middle slice is shown, crossed out."""
    flagged = volume(targets=np.array([1]), **flagged_maps(0.0, (6, 8, 8)))
    picture = draw_overlay(flagged, full=1.0)
    assert (panels_of(picture, 2)[0] == 153).all()  # slice 3
    assert has_color(picture, WRONG)


def test_the_truth_of_a_volume_is_outlined_in_its_slice() -> None:
    """The outline is that of the truth in the slice shown, and is not there in a slice without truth."""
    truth = np.zeros((6, 8, 8), dtype=bool)
    truth[4, 2:6, 2:6] = True
    picture = draw_overlay(volume(truth=truth, image=np.full((1, 6, 8, 8), 0.5, np.float32)), full=1.0)
    with_truth, _, without = np.split(np.array(picture)[-PANEL_SIZE - 6 : -6, 6:], 3, axis=1)
    assert (with_truth[48, 60] == 255).all()
    assert not (without[:PANEL_SIZE, :PANEL_SIZE] == 0).all(axis=-1).any()


def test_names_of_classes_stand_above_pictures() -> None:
    """A hostile or long one is cut; a class without a name has its number."""
    explanation = make_explanation(label=0)
    pictures = [
        np.array(draw_overlay(explanation, 1.0, names))
        for names in ((), ("0", "1", "2"), ("healthy", "ill", "other"), ("\x1b" * 9999, "ill", "other"), ("healthy",))
    ]
    assert np.array_equal(pictures[0], pictures[1])
    assert pictures[3].shape[1] < 2 * pictures[2].shape[1]
    others = [np.array_equal(pictures[2], each) for each in (pictures[0], pictures[3], pictures[4])]
    assert others == [False] * 3
    plain, named = (np.array(draw_contact_sheet([explanation], 1.0, "t", names)) for names in ((), ("a", "b", "c")))
    assert not np.array_equal(plain, named)


def test_captions_of_a_volume_say_which_slice() -> None:
    """Two volumes that differ in nothing but the slice of the peak differ in their captions, and there only."""
    image = np.full((1, 6, 8, 8), 0.5, np.float32)
    overlays, sheets = [], []
    for depth in (4, 5):
        maps = np.zeros((2, 6, 8, 8), np.float32)
        maps[:, depth, 2, 3] = 1
        overlays.append(np.array(draw_overlay(volume(image=image, maps=maps), 1.0)))
        sheets.append(np.array(draw_contact_sheet([volume(image=image, maps=maps)], 1.0, "title")))
    for (first, second), height in ((overlays, PANEL_SIZE), (sheets, SHEET_PANEL_SIZE)):
        changed = (first != second).any(axis=(1, 2))
        assert changed.any()
        assert not changed[-height - 6 :].any()


# --- which are drawn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "places"),
    [("all", [0, 1, 2, 3]), ("none", []), (0, []), (2, [0, 1]), (9, [0, 1, 2, 3]), ([9, 3], [1, 3]), ([5], [2])],
)
def test_overlays_are_of_the_first_or_of_chosen_images(choice: Any, places: list[int]) -> None:
    """A number means the first of those that have maps, a list means their indices in the data set."""
    assert overlay_places(choice, [2, 3, 5, 9]) == places


def test_overlays_of_images_that_do_not_exist_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """The log says which of the chosen images have no maps; the others are drawn."""
    assert overlay_places([3, 4, 77], [2, 3]) == [1]
    assert "saliency_overlays: there are no maps of image 4, 77" in caplog.text


def test_the_sheet_holds_a_spread_of_the_data_set() -> None:
    """Up to 40 images are all shown; of more, the first, the last and some evenly between."""
    assert sheet_places(3) == [0, 1, 2]
    places = sheet_places(1000)
    assert (len(places), places[0], places[-1]) == (40, 0, 999)
    assert set(np.diff(places)) <= {25, 26}


def test_pictures_are_saved_as_png(tmp_path: Path) -> None:
    """The file is a PNG with the picture's pixels, and no temporary file stays behind."""
    picture = draw_contact_sheet([make_explanation(index) for index in range(7)], 1.0, "title")
    save(picture, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as again:
        assert again.format == "PNG"
        assert np.array_equal(np.array(again), np.array(picture))
    assert [file.name for file in tmp_path.iterdir()] == ["sheet.png"]
