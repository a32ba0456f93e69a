"""G: saliency. Rows as in docs/trust.md; what faults do to single images is in tests/test_saliency_checks.py."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.faults.programs import fingerprint, run, run_folder, status, tiny


def test_g4_an_image_that_is_no_number(tmp_path: Path) -> None:
    """It has no map and a reason; the others have theirs; the run does not end well."""
    output = run(tmp_path, *tiny("--fault=test nan image"), code=1)
    folder = run_folder(tmp_path)
    assert "1 image could not be explained: 5" in output
    assert status(folder)["state"] == "failed"
    [row] = (folder / "saliency" / "failures.csv").read_text().splitlines()[1:]
    assert row.startswith("5,")
    assert len(list((folder / "saliency" / "maps").glob("*.npz"))) == 23


def test_g9_maps_do_not_depend_on_how_data_is_loaded(tmp_path: Path) -> None:
    """Each image has its own seed."""
    for name, workers in (("a", 0), ("b", 2)):
        run(tmp_path, *tiny(f"--output_to={name}/outputs", f"--num_workers={workers}"))
    assert fingerprint(run_folder(tmp_path / "a")) == fingerprint(run_folder(tmp_path / "b"))


def test_g12_other_weights(tmp_path: Path) -> None:
    """Maps of other weights are not gone on with: all are made anew."""
    run(tmp_path, *tiny())
    first = run_folder(tmp_path)
    run(tmp_path, *tiny("--l_rate=0.1", "--output_to=other/outputs"))
    other = run_folder(tmp_path / "other")
    shutil.copytree(other / "saliency", first / "saliency", dirs_exist_ok=True)
    (first / "digests.json").unlink()
    changed = status(first)
    changed["phases"].pop("saliency")
    (first / "status.json").write_text(json.dumps(changed))
    before = (other / "saliency" / "maps" / "000003.npz").read_bytes()
    run(tmp_path, f"--resume={first}")
    assert (first / "saliency" / "maps" / "000003.npz").read_bytes() != before


def test_g14_the_model_is_in_evaluation_mode(tmp_path: Path) -> None:
    """Dropout would give other maps each time."""
    for name, size in (("a", 3), ("b", 16)):
        run(tmp_path, *tiny(f"--output_to={name}/outputs", f"--saliency_batch_size={size}"))
    found = [run_folder(tmp_path / name) / "saliency" / "maps" / "000003.npz" for name in ("a", "b")]
    maps = [np.load(path)["maps"] for path in found]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)


@pytest.mark.parametrize(
    "argument",
    ["--saliency_num_masks=0", "--saliency_grid_size=0", "--saliency_stride=0", "--saliency_window_size=-1",
     "--saliency_mask_probability=1", "--saliency_method=riise"],
)  # fmt: skip
def test_g8_settings_that_cannot_be(argument: str, tmp_path: Path) -> None:
    """Refused before anything starts."""
    run(tmp_path, *tiny(argument), code=2)
    assert not (tmp_path / "outputs").exists()
