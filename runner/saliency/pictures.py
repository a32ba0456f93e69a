"""Pictures of saliency maps: one of each image, and a contact sheet of the data set.

The colours mean the same in all pictures of a run: they show a map times its strength, on a scale for the whole data
set, because a map by itself is as colourful for noise as for evidence. Of a volume they show the slice with the peak
of the map, or the middle one for a map that points nowhere.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from runner.atomic_files import atomic_file
from runner.saliency.colors import GREYS, blend, displayed, greyed
from runner.saliency.explanation import OK, Explanation
from runner.shown import printable

Array = NDArray[Any]

log = logging.getLogger(__name__)

PANEL_SIZE = 192
"""Least side of a panel of an overlay in pixels; small images are enlarged to it in whole steps."""
MAX_PANEL_SIZE = 512
MAX_PANELS = 4
"""Maps shown of one image, those of the classes with the highest scores."""
SHEET_SIZE = 40
"""Images on the contact sheet, spread evenly over the data set."""
SHEET_COLUMNS = 5
SHEET_PANEL_SIZE = 144
MAX_NAME = 14
"""Characters of the name of a class above a picture."""

_PAPER, _INK, _WRONG = (255, 255, 255), (25, 25, 25), (190, 20, 90)
_GAP, _LINE = 6, 16
_HEAD = 2 * _LINE + _GAP


def full_color(strengths: Sequence[float]) -> float:
    """Return the strength that has the full colour: the 95th percentile, so that a single map cannot pale the others.

    Args:
        strengths: Those of all maps of the data set; NaN is left out.
    """
    values = np.asarray(strengths, dtype=np.float64)
    finite = values[np.isfinite(values) & (values > 0)]
    return float(np.percentile(finite, 95)) if len(finite) else 1.0


def sheet_places(num_images: int) -> list[int]:
    """Return which of so many images are on the contact sheet: all, or some spread evenly."""
    return sorted(set(np.linspace(0, num_images - 1, min(num_images, SHEET_SIZE)).round().astype(int).tolist()))


def overlay_places(choice: str | int | list[int], indices: Sequence[int]) -> list[int]:
    """Return the places in *indices* of the images that have an overlay.

    Args:
        choice: As in ``saliency_overlays``.
        indices: Of the images that have maps, in order.
    """
    if isinstance(choice, list):
        chosen = set(choice)
        places = [place for place, index in enumerate(indices) if index in chosen]
        unknown = sorted(chosen - {indices[place] for place in places})
        if unknown:
            log.warning("saliency_overlays: there are no maps of image %s", ", ".join(map(str, unknown)))
        return places
    number = {"all": len(indices), "none": 0}[choice] if isinstance(choice, str) else choice
    return list(range(min(number, len(indices))))


def draw_overlay(explanation: Explanation, full: float, names: Sequence[str] = ()) -> Image.Image:
    """Draw an image and beside it the maps of its targets, the truth outlined.

    Args:
        explanation: The image and its maps.
        full: The strength that has the full colour, see :func:`full_color`.
        names: Of the classes, where they have any.
    """
    order = np.argsort(-explanation.scores[explanation.targets], kind="stable")[:MAX_PANELS]
    panels = [_image_panel(explanation, PANEL_SIZE, MAX_PANEL_SIZE)]
    panels += [_map_panel(explanation, int(place), full, PANEL_SIZE, MAX_PANEL_SIZE) for place in order]
    captions = [_image_caption(explanation, names) + _slice_caption(explanation, explanation.main)]
    captions += [_map_caption(explanation, int(place), names) for place in order]
    width, height = panels[0].size
    column = max(width, *(_width(text) for text in captions)) + _GAP
    picture = Image.new("RGB", (_GAP + len(panels) * column, height + _HEAD + _GAP), _PAPER)
    for number, (panel, text) in enumerate(zip(panels, captions, strict=True)):
        _write(picture, (_GAP + number * column, _GAP // 2), text, _color_of(explanation))
        picture.paste(panel, (_GAP + number * column, _HEAD))
    return picture


def draw_contact_sheet(
    explanations: Iterable[Explanation], full: float, title: str, names: Sequence[str] = ()
) -> Image.Image:
    """Draw many images, each beside its main map, with label and prediction; wrong ones are framed.

    Args:
        explanations: The images, in the order of the sheet; one is needed at a time.
        full: The strength that has the full colour.
        title: What stands above.
        names: Of the classes, where they have any.
    """
    width, height = 2 * SHEET_PANEL_SIZE + 3 * _GAP, SHEET_PANEL_SIZE + _HEAD + 2 * _GAP
    tiles = [_tile(explanation, full, (width, height), names) for explanation in explanations]
    columns = min(SHEET_COLUMNS, max(2, len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    top = 2 * _LINE + 5 * _GAP
    sheet = Image.new("RGB", (columns * width + 2 * _GAP, rows * height + top + _GAP), _PAPER)
    _write(sheet, (2 * _GAP, _GAP), title, size=15)
    _draw_scale(sheet, (2 * _GAP, _LINE + 3 * _GAP), full)
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (_GAP + number % columns * width, top + number // columns * height))
    return sheet


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG file, whole or not at all."""
    with atomic_file(path) as file:
        picture.save(file, format="PNG")


def _tile(explanation: Explanation, full: float, size: tuple[int, int], names: Sequence[str]) -> Image.Image:
    tile = Image.new("RGB", size, _PAPER)
    if explanation.is_correct is False:
        ImageDraw.Draw(tile).rectangle((1, 1, size[0] - 2, size[1] - 2), outline=_WRONG, width=2)
    main, sides = explanation.main, (SHEET_PANEL_SIZE, SHEET_PANEL_SIZE)
    panels = [(_image_panel(explanation, *sides), _image_caption(explanation, names))]
    if main is not None:
        panels.append((_map_panel(explanation, main, full, *sides), _map_caption(explanation, main, names)))
    for number, (panel, text) in enumerate(panels):
        x = _GAP + number * (SHEET_PANEL_SIZE + _GAP)
        _write(tile, (x, _GAP), text, _color_of(explanation))
        tile.paste(panel, (x, _HEAD + _GAP))
    return tile


def _draw_scale(sheet: Image.Image, corner: tuple[int, int], full: float) -> None:
    """Draw the scale of colours with what its ends mean."""
    width, height = 180, 12
    values = np.tile(np.linspace(-1, 1, width), (height, 1))
    grey = np.full((height, width, 3), sum(GREYS) // 2, dtype=np.uint8)
    left, right = f"against the class  -{full:.2g}", f"+{full:.2g}  for the class"
    x, y = corner
    _write(sheet, (x, y), left)
    x += _width(left) + _GAP
    sheet.paste(Image.fromarray(blend(grey, values)), (x, y + 2))
    _write(sheet, (x + width + _GAP, y), right)


def _image_panel(explanation: Explanation, least: int, most: int) -> Image.Image:
    depth = slice_of(explanation, explanation.main)
    return _panel(_picture(explanation, depth), _truth(explanation, depth), least, most)


def _map_panel(explanation: Explanation, place: int, full: float, least: int, most: int) -> Image.Image:
    depth = slice_of(explanation, place)
    underlay, truth = greyed(_picture(explanation, depth)), _truth(explanation, depth)
    if explanation.is_flagged(place):
        return _crossed_out(_panel(underlay, truth, least, most))
    values = cut(explanation.maps[place], depth) * (explanation.strength[place] / full)
    return _panel(blend(underlay, values), truth, least, most)


def slice_of(explanation: Explanation, place: int | None) -> int | None:
    """Return which slice shows the map at *place* in ``targets``; None for what is flat already."""
    if explanation.image.ndim == 3:
        return None
    peak = None if place is None else explanation.peak(place)
    return peak[0] if peak else explanation.image.shape[1] // 2


def cut(values: Array, depth: int | None) -> Array:
    """Return the slice at *depth* of a volume (..., D, H, W); what is flat as it is."""
    return values if depth is None else values[..., depth, :, :]


def _picture(explanation: Explanation, depth: int | None) -> Array:
    return displayed(cut(explanation.image, depth), explanation.image)


def _truth(explanation: Explanation, depth: int | None) -> Array | None:
    return None if explanation.truth is None else cut(explanation.truth, depth)


def _panel(picture: Array, truth: Array | None, least: int, most: int) -> Image.Image:
    """Outline the truth on a picture whose longer side was brought between *least* and *most* pixels.

    Args:
        picture: uint8 (H, W, 3), enlarged in whole steps without smoothing.
        truth: bool (H, W).
        least: Of the longer side.
        most: Of the longer side.
    """
    factor = math.ceil(least / max(picture.shape[:2]))
    panel = Image.fromarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))
    panel.thumbnail((most, most), Image.Resampling.BOX)
    if truth is None:
        return panel
    resized = Image.fromarray(truth).convert("L").resize(panel.size, Image.Resampling.BOX)
    return _outlined(panel, np.array(resized) > 0)


def _outlined(panel: Image.Image, truth: Array) -> Image.Image:
    """Draw a white line along the inner and a black one along the outer side of the truth's edge."""
    array = np.array(panel)
    array[_grown(truth) & ~truth] = (0, 0, 0)
    array[truth & _grown(~truth)] = (255, 255, 255)
    return Image.fromarray(array)


def _grown(mask: Array) -> Array:
    """Return *mask*, bool (H, W), with one more pixel on each side."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    shifted = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.asarray(np.any(shifted, axis=0))


def _crossed_out(panel: Image.Image) -> Image.Image:
    draw = ImageDraw.Draw(panel)
    draw.line((0, 0, *panel.size), fill=_WRONG, width=2)
    draw.line((0, panel.height, panel.width, 0), fill=_WRONG, width=2)
    return panel


def _image_caption(explanation: Explanation, names: Sequence[str]) -> str:
    if explanation.main is None:
        return f"#{explanation.index}  nothing to explain"
    says = f"#{explanation.index}  {_class_name(explanation.predicted, names)} {explanation.predicted_score:.2f}"
    if explanation.is_correct is None:
        return says
    return f"{says}\n{'right' if explanation.is_correct else f'WRONG: {_class_name(explanation.label, names)}'}"


def _map_caption(explanation: Explanation, place: int, names: Sequence[str]) -> str:
    flag, strength = str(explanation.flags[place]), explanation.strength[place]
    says = f"strength {strength:.2g}" if flag == OK else flag.replace("_", " ")
    target = _class_name(int(explanation.targets[place]), names)
    return f"{target}{_slice_caption(explanation, place)}\n{says}"


def _class_name(index: int, names: Sequence[str]) -> str:
    name = names[index] if 0 <= index < len(names) else str(index)
    return f"class {name}" if name.isdigit() else printable(name, MAX_NAME)


def _slice_caption(explanation: Explanation, place: int | None) -> str:
    depth = slice_of(explanation, place)
    return "" if depth is None else f"  slice {depth}"


def _color_of(explanation: Explanation) -> tuple[int, int, int]:
    return _WRONG if explanation.is_correct is False else _INK


def _write(
    picture: Image.Image, corner: tuple[int, int], text: str, color: tuple[int, int, int] = _INK, size: int = 12
) -> None:
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(text.split("\n")):
        draw.text((corner[0], corner[1] + number * _LINE), line, fill=color, font=ImageFont.load_default(size))


def _width(text: str) -> int:
    return math.ceil(max(ImageFont.load_default(12).getlength(line) for line in text.split("\n")))
