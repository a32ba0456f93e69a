"""DICOM and NIfTI files: the files that pydicom and nibabel ship, and made ones with known values."""

from __future__ import annotations

import gzip
import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_windowing

from runner.images import ImageForm, UnreadableImageError, read_image
from runner.images.medical import read_dicom, read_nifti

nibabel: Any = importlib.import_module("nibabel")  # untyped in part

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
VOLUMES = Path(nibabel.__file__).parent / "tests" / "data"


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """pydicom warns of what is odd in its test files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def made(folder: Path, stored: NDArray[Any], **values: Any) -> Path:
    """Write a DICOM file from one that pydicom ships, with other pixels."""
    dataset = pydicom.dcmread(FILES / "CT_small.dcm")
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in values.items():
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)
    dataset.save_as(folder / "made.dcm")
    return folder / "made.dcm"


HOUNSFIELD = np.array([[-1000, -160], [40, 240]], np.int16)


def test_rescaling_and_window(tmp_path: Path) -> None:
    """Stored values become HU by slope and intercept; a window of 400 around 40 goes from -160 to 240."""
    path = made(tmp_path, ((HOUNSFIELD + 1024) * 2).astype(np.int16), RescaleSlope=0.5, RescaleIntercept=-1024)
    shown = read_dicom(path, (40, 400), None)
    assert shown.tolist() == pytest.approx(np.array([[0, 0], [0.5, 1]]))
    assert read_image(path, ImageForm(2, 1, (40, 400)))[..., 0].tolist() == [[0, 0], [32768, 65535]]


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    """What is stored as white is shown as black."""
    path = made(tmp_path, HOUNSFIELD, RescaleIntercept=0, PhotometricInterpretation="MONOCHROME1")
    assert read_dicom(path, (40, 400), None) == pytest.approx(np.array([[1, 1], [0.5, 0]]))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_of_the_file(tmp_path: Path, function: str) -> None:
    """The first window of the file is used as pydicom uses it (PS3.3, C.11.2.1.2 and .3)."""
    stored = np.arange(-300, 300, dtype=np.int16).reshape(20, 30)
    path = made(
        tmp_path, stored, RescaleIntercept=0, WindowCenter=[40, 0], WindowWidth=[256, 9], VOILUTFunction=function
    )
    expected = apply_windowing(stored, pydicom.dcmread(path))
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    assert read_dicom(path, None, None) == pytest.approx(expected, abs=0.02 if function == "SIGMOID" else 1e-6)


@pytest.mark.parametrize("function", ["LINEAR", "SIGMOID"])
@pytest.mark.parametrize("window", [("nan", "10"), ("0", "inf"), ("0", "0"), ("0", "-5")])
def test_windows_that_show_nothing(tmp_path: Path, function: str, window: tuple[str, str]) -> None:
    """Are a reason not to read the file; all would be black."""
    path = made(tmp_path, HOUNSFIELD, WindowCenter=float(window[0]), WindowWidth=float(window[1]))
    dataset = pydicom.dcmread(path)
    dataset.VOILUTFunction = function
    dataset.save_as(path)
    with pytest.raises(UnreadableImageError, match="has a window of centre"):
        read_dicom(path, None, None)


def test_deflated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are read, but not where they would fill the memory: that is found before pydicom unpacks them."""
    path = made(tmp_path, np.arange(4096, dtype=np.int16).reshape(64, 64))
    plain = read_dicom(path, None, None)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert np.array_equal(read_dicom(path, None, None), plain)
    monkeypatch.setattr("runner.images.medical.MAX_INFLATED", 4000)
    monkeypatch.setattr(pydicom, "dcmread", None)
    with pytest.raises(UnreadableImageError, match="decompression bomb"):
        read_dicom(path, None, None)


def test_table_of_the_file(tmp_path: Path) -> None:
    """The values that a VOI table gives are the ones shown."""
    squares = (np.arange(256) ** 2 // 256).astype(np.uint16)
    table = Dataset()
    table.LUTDescriptor = [256, 0, 8]
    table.add_new("LUTData", "OW", squares.tobytes())
    stored = np.arange(256, dtype=np.uint16).reshape(16, 16)
    path = made(tmp_path, stored, RescaleIntercept=0, VOILUTSequence=[table])
    assert read_dicom(path, None, None) == pytest.approx(squares.reshape(16, 16) / 255)


def test_without_a_window_all_values_are_shown() -> None:
    """CT_small has no window: from the least to the greatest value."""
    dataset = pydicom.dcmread(FILES / "CT_small.dcm")
    values = apply_modality_lut(dataset.pixel_array, dataset).astype(float)
    expected = (values - values.min()) / (values.max() - values.min())
    assert read_dicom(FILES / "CT_small.dcm", None, None) == pytest.approx(expected, abs=1e-6)


def test_colours_are_as_pydicom_shows_them() -> None:
    """RGB and YBR files of one picture are alike, and 8 bits stay 8 bits."""
    rgb = read_dicom(FILES / "SC_rgb_rle.dcm", None, None)
    ybr = read_dicom(FILES / "SC_ybr_full_422_uncompressed.dcm", None, None)
    assert rgb.dtype == np.uint8
    assert np.array_equal(rgb, pydicom.dcmread(FILES / "SC_rgb_rle.dcm").pixel_array)
    assert ybr.shape == rgb.shape


def test_sixteen_bit_colours() -> None:
    """The range of the type is 0 to 1."""
    path = FILES / "SC_rgb_rle_16bit.dcm"
    assert read_dicom(path, None, None) == pytest.approx(pydicom.dcmread(path).pixel_array / 65535)


def test_frames() -> None:
    """The middle frame without a number, else the one it says."""
    path = FILES / "SC_rgb_rle_2frame.dcm"
    frames = pydicom.dcmread(path).pixel_array
    assert np.array_equal(read_dicom(path, None, 0), frames[0])
    assert np.array_equal(read_dicom(path, None, None), frames[1])
    with pytest.raises(UnreadableImageError, match="2 slices"):
        read_dicom(path, None, 2)


def test_files_that_pydicom_ships() -> None:
    """Most are read; the others have a reason of one line, and nothing else is raised."""
    num_read, reasons = 0, {}
    for path in sorted(FILES.glob("*.dcm")):
        try:
            num_read += read_image(path, ImageForm(16)).shape == (16, 16, 3)
        except UnreadableImageError as error:
            reasons[path.name] = str(error)
    assert num_read >= 45
    assert all(len(text) <= 200 and "\n" not in text for text in reasons.values())
    assert reasons["rtplan.dcm"] == "is a DICOM file without pixels"
    assert "corrupted" in reasons["MR_truncated.dcm"]


def test_size_is_checked_first(tmp_path: Path) -> None:
    """A DICOM file of a few bytes that says it holds gigabytes is refused."""
    path = made(tmp_path, HOUNSFIELD, Rows=60_000, Columns=60_000)
    with pytest.raises(UnreadableImageError, match="bomb"):
        read_dicom(path, None, None)


# --- NIfTI -----------------------------------------------------------------------------------------------------------


def written(folder: Path, values: NDArray[Any], affine: NDArray[Any], name: str = "volume.nii.gz") -> Path:
    nibabel.Nifti1Image(values, affine).to_filename(folder / name)
    return folder / name


RAS = np.diag([1.0, 1, 1, 1])
VOLUME = np.random.default_rng(0).integers(0, 1000, (5, 6, 7)).astype(np.int16)


@pytest.mark.parametrize("name", ["volume.nii", "volume.nii.gz"])
def test_slice_lies_as_one_looks_at_it(tmp_path: Path, name: str) -> None:
    """Front at the top, the patient's left on the left: rows go backwards, columns to the right."""
    shown = read_nifti(written(tmp_path, VOLUME, RAS, name), (500, 1000), 2)
    expected = VOLUME[:, ::-1, 2].T / 1000
    assert shown == pytest.approx(expected)


@pytest.mark.parametrize("axes", ["LPS", "RIP", "SAR", "PIL"])
def test_order_of_the_file_does_not_matter(tmp_path: Path, axes: str) -> None:
    """Stored in any orientation, a volume gives the same slices."""
    orientation = nibabel.orientations
    change = orientation.ornt_transform(orientation.axcodes2ornt("RAS"), orientation.axcodes2ornt(axes))
    turned = nibabel.Nifti1Image(VOLUME, RAS).as_reoriented(change)
    turned.to_filename(tmp_path / "turned.nii.gz")
    plain = written(tmp_path, VOLUME, RAS)
    for frame in (None, 0, 6):
        assert np.array_equal(read_nifti(tmp_path / "turned.nii.gz", None, frame), read_nifti(plain, None, frame))


def test_scaling_of_the_file(tmp_path: Path) -> None:
    """Slope and intercept of the file are applied before the window."""
    image = nibabel.Nifti1Image(VOLUME, RAS)
    image.header.set_slope_inter(2, -1000)
    image.to_filename(tmp_path / "scaled.nii")
    stored = nibabel.load(tmp_path / "scaled.nii").get_fdata()
    shown = read_nifti(tmp_path / "scaled.nii", (0, 4000), 3)
    assert shown == pytest.approx((stored[:, ::-1, 3].T + 2000) / 4000, abs=1e-5)


def test_volumes_that_nibabel_ships() -> None:
    """NIfTI 1 and 2, packed or not, with time as fourth dimension."""
    for name in ("anatomical.nii", "standard.nii.gz", "example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii"):
        assert read_image(VOLUMES / name, ImageForm(16, 1)).std() > 0


def test_not_a_volume(tmp_path: Path) -> None:
    """A flat file, another gzip file, and one that was cut."""
    flat = written(tmp_path, np.zeros((4, 4), np.int16), RAS, "flat.nii")
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"no volume, but text"))
    whole = written(tmp_path, VOLUME, RAS, "whole.nii")
    (tmp_path / "cut.nii").write_bytes(whole.read_bytes()[:500])
    for path, words in ((flat, "no volume"), (tmp_path / "text.gz", "no NIfTI"), (tmp_path / "cut.nii", "")):
        with pytest.raises(UnreadableImageError, match=words):
            read_image(path, ImageForm(8))
