"""Pictures of all kinds to arrays: values against what was written, and files that are not what they seem."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from runner.images import ImageForm, UnreadableImageError, read_image
from runner.images.pixels import scaled

PICTURES = Path(skimage.__file__).parent / "data"
GREY = (np.arange(16 * 16).reshape(16, 16) * 257).astype(np.uint16)

SMALL = ImageForm(16)


def reason(path: Path, form: ImageForm = SMALL, frame: int | None = None) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        read_image(path, form, frame)
    return str(caught.value)


def saved(folder: Path, values: NDArray[Any], name: str = "picture.png", **options: Any) -> Path:
    Image.fromarray(values).save(folder / name, **options)
    return folder / name


def test_eight_bits_come_back(tmp_path: Path) -> None:
    """A colour picture of the right size is not touched."""
    colors = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(read_image(saved(tmp_path, colors), ImageForm(16)), colors)
    assert np.array_equal(read_image(saved(tmp_path, colors, "picture.tif"), ImageForm(16)), colors)


@pytest.mark.parametrize("name", ["picture.png", "picture.tif"])
def test_sixteen_bits_come_back(tmp_path: Path, name: str) -> None:
    """So is a grey one with 16 bits; its one channel is copied into three."""
    image = read_image(saved(tmp_path, GREY, name), ImageForm(16))
    assert image.dtype == np.uint16
    assert np.array_equal(image, np.stack([GREY] * 3, axis=2))


def test_grey_of_a_colour_picture(tmp_path: Path) -> None:
    """With one channel, colours become what Pillow calls luminance."""
    colors = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = read_image(saved(tmp_path, colors), ImageForm(16, channels=1))
    assert np.array_equal(image[..., 0], np.asarray(Image.fromarray(colors).convert("L")))


def test_shape_is_kept_and_the_rest_is_black(tmp_path: Path) -> None:
    """A picture twice as wide as high fills the middle half of the square."""
    image = read_image(saved(tmp_path, np.full((20, 40, 3), 200, np.uint8)), ImageForm(16))
    assert (image[4:12] == 200).all()
    assert not image[:4].any()
    assert not image[12:].any()


def test_scaling_averages(tmp_path: Path) -> None:
    """A fine checkerboard becomes grey, not a pattern."""
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = read_image(saved(tmp_path, board.astype(np.uint8)), ImageForm(8))
    assert np.abs(image[1:-1, 1:-1].astype(int) - 127).max() <= 3


def test_window_of_sixteen_bits(tmp_path: Path) -> None:
    """A window of 100 around 1000 makes 950 black, 1050 white and 1000 grey."""
    values = np.array([[900, 950], [1000, 1060]], np.uint16)
    image = read_image(saved(tmp_path, values), ImageForm(2, 1, window=(1000, 100)))
    assert image[..., 0].tolist() == [[0, 0], [32768, 65535]]


def test_floats_go_from_least_to_greatest(tmp_path: Path) -> None:
    """Of a TIFF file of floats the least value is black, the greatest white, and NaN black."""
    values = np.array([[-3, np.nan], [1, 5]], np.float32)
    image = read_image(saved(tmp_path, values, "picture.tif"), ImageForm(2, 1))
    assert image[..., 0].tolist() == [[0, 0], [32768, 65535]]


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
def test_other_modes(tmp_path: Path, mode: str) -> None:
    """Palettes, transparency and inks become grey or colours."""
    Image.new("RGB", (16, 16), (255, 255, 255)).convert(mode).save(tmp_path / "picture.tif")
    assert (read_image(tmp_path / "picture.tif", ImageForm(16)) == 255).all()


def tiff(folder: Path, row: NDArray[Any], photometric: int) -> Path:
    """Write a TIFF file of one row, which Pillow cannot."""
    kind = {"u": 1, "i": 2, "f": 3}[row.dtype.kind]
    numbers = {
        256: row.size, 257: 1, 258: 8 * row.itemsize, 259: 1, 262: photometric, 273: 134, 277: 1, 278: 1,
        279: row.nbytes,
    }  # fmt: skip
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers.items() if tag != 258]
    entries += [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in ((258, numbers[258]), (339, kind))]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(sorted(entries)) + bytes(4)
    (folder / "made.tif").write_bytes(head.ljust(134, b"\0") + row.tobytes())
    return folder / "made.tif"


@pytest.mark.parametrize(
    "row", [np.array([0, 51, 255], "u1"), np.array([0, 13107, 65535], "<u2"), np.array([0, 0.2, 1], "<f4")]
)
def test_white_is_zero(tmp_path: Path, row: NDArray[Any]) -> None:
    """Means the same for all types."""
    for photometric, expected in ((0, [1, 0.8, 0]), (1, [0, 0.2, 1])):
        image = read_image(tiff(tmp_path, row, photometric), ImageForm(3, 1))[1, :, 0]
        assert (image / np.iinfo(image.dtype).max).tolist() == pytest.approx(expected, abs=1e-4)


def test_large_numbers(tmp_path: Path) -> None:
    """Unsigned ones above 2^31 are the brightest; floats of nearly all their range are told apart."""
    for row in (np.array([0, 2**31, 2**32 - 1], "<u4"), np.array([-3e38, 0, 3e38], "<f4")):
        image = read_image(tiff(tmp_path, row, 1), ImageForm(3, 1))[1, :, 0]
        assert image.tolist() == pytest.approx([0, 32768, 65535], abs=1)


def test_pages_of_a_tiff_file(tmp_path: Path) -> None:
    """The first page without a number, else the one it says."""
    pages = [Image.new("L", (8, 8), value) for value in (10, 20, 30)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    form = ImageForm(8, 1)
    assert [int(read_image(tmp_path / "pages.tif", form, frame)[0, 0, 0]) for frame in (None, 2)] == [10, 30]
    assert reason(tmp_path / "pages.tif", form, 3) == "has 3 slices, counted from 0, so no slice 3"


def test_a_photograph_lies_as_its_camera_says(tmp_path: Path) -> None:
    """The orientation of EXIF is obeyed."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    picture = np.zeros((16, 16), np.uint8)
    picture[:, :8] = 255  # the left half
    image = read_image(saved(tmp_path, picture, "picture.jpg", exif=exif, quality=95), ImageForm(16, 1))
    assert image[:7].min() > 240
    assert image[9:].max() < 15


@pytest.mark.parametrize("path", sorted(PICTURES.glob("*.[pj][np]g")), ids=lambda path: path.name)
def test_pictures_of_scikit_image(path: Path) -> None:
    """What a package ships in PNG and JPEG can be read, and looks as scikit-image reads it."""
    from skimage.io import imread
    from skimage.transform import resize

    image = read_image(path, ImageForm(32, 1)).astype(float)[..., 0]
    image /= 255 if image.max() <= 255 else 65535
    whole = np.asarray(imread(path))
    if whole.dtype != np.uint8 or whole.ndim > 3 or whole.shape[2:] not in ((), (3,)) or len(set(whole.shape[:2])) == 2:
        return  # pages, transparency, no square: that it can be read is all
    light = whole @ [0.299, 0.587, 0.114] if whole.ndim == 3 else whole
    expected: NDArray[Any] = resize(light / 255, (32, 32), anti_aliasing=True)  # type: ignore[no-untyped-call]
    assert np.abs(image - expected).mean() < 0.05


def test_names_do_not_matter(tmp_path: Path) -> None:
    """A JPEG file called .png, and one without an ending, are read as what they are."""
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "picture", format="JPEG")
    (tmp_path / "wrong.png").write_bytes((tmp_path / "picture").read_bytes())
    assert (read_image(tmp_path / "wrong.png", ImageForm(8))[..., 0] > 250).all()
    assert (read_image(tmp_path / "picture", ImageForm(8))[..., 0] > 250).all()


# --- files that are not what they seem -----------------------------------------------------------------------------


def test_bad_files(tmp_path: Path) -> None:
    """Each has its own clear words."""
    picture = saved(tmp_path, np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    content = picture.read_bytes()
    for name, bytes_ in {
        "empty": b"",
        "text": b"hello",
        "cut": content[: len(content) // 2],
        "gz": b"\x1f\x8b12",
    }.items():
        (tmp_path / name).write_bytes(bytes_)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert reason(tmp_path / "empty") == "is empty, 0 bytes"
    assert reason(tmp_path / "text") == "is no PNG, JPEG, TIFF, DICOM or NIfTI file, or its head is damaged"
    assert "truncated" in reason(tmp_path / "cut")
    assert reason(tmp_path / "loop") == "is no file"
    assert reason(tmp_path) == "is no file"
    assert reason(tmp_path / "missing") == "is no file"
    assert reason(tmp_path / "gz")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bomb(tmp_path: Path, side: int) -> None:
    """A file of a few bytes that says it holds gigabytes is refused before it is decoded."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    assert "bomb" in reason(tmp_path / "bomb.png")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_bytes_never_surprise(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever the bytes, an image comes out or an UnreadableImageError of one line."""
    folder = tmp_path_factory.mktemp("damaged")
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF"]))
    Image.fromarray(GREY.astype(np.uint8)).save(folder / "picture", format=kind)
    content = bytearray((folder / "picture").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "picture").write_bytes(content)
    try:
        shape, reason = read_image(folder / "picture", ImageForm(16)).shape, "read"
    except UnreadableImageError as error:
        shape, reason = (16, 16, 3), str(error)
    assert shape == (16, 16, 3)
    assert len(reason.splitlines()) == 1


@given(st.lists(st.floats(width=32), min_size=1, max_size=9))
def test_scaled_is_between_0_and_1(values: list[float]) -> None:
    """For all values there are, NaN and infinity included."""
    array = np.array([values], np.float32)
    if np.isfinite(array).any():
        assert ((scaled(array, None) >= 0) & (scaled(array, None) <= 1)).all()
    else:
        with pytest.raises(UnreadableImageError):
            scaled(array, None)
