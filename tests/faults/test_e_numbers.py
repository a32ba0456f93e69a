"""E: numbers and data in training. Rows as in docs/trust.md."""

from pathlib import Path

import pytest
import torch

from runner.cli import main
from tests.faults.programs import run, run_folder, status, tiny

FAULTS = {
    "E1 loss NaN": (["--fault=nan loss", "--at=7"], "not finite (NaN or infinite) in epoch 3, batch 2"),
    "E2 weights NaN": (["--fault=nan gradient", "--at=7"], "not finite"),
    "E4 empty train": (["--fault=empty train"], "train_dataloader gives no batches"),
    "E4 empty val": (["--fault=empty val"], "val_dataloader gives no batches"),
    "E4 empty test": (["--fault=empty test"], "test_dataloader gives no batches"),
    "E4 no full batch": (["--fault=no full batch train"], "train_dataloader gives no batches"),
    "E5 item raises": (["--fault=item raises"], "cannot read scan_5.png"),
    "E5 item raises in a worker": (["--fault=item raises", "--num_workers=1"], "cannot read scan_5.png"),
    "E6 worker dies": (["--fault=worker dies", "--num_workers=1"], "DataLoader worker"),
    "E8 wrong shape": (["--fault=wrong shape"], "stack expects each tensor to be equal size"),
    "E10 label out of range": (["--fault=bad label"], "out of bounds"),
}


@pytest.mark.parametrize("row", FAULTS)
def test_training_fails_and_says_why(row: str, tmp_path: Path) -> None:
    """Never completed, never exit code 0; what was whole before stays."""
    argv, words = FAULTS[row]
    output = run(tmp_path, *tiny(*argv), code=1)
    assert words in output
    folder = run_folder(tmp_path)
    assert status(folder)["state"] == "failed"
    for path in (folder / "checkpoints").glob("*.ckpt"):
        weights = torch.load(path, weights_only=True)["state_dict"]
        assert all(bool(torch.isfinite(each).all()) for each in weights.values())


VALUES = [
    "--l_rate=nan", "--l_rate=inf", "--l_rate=-1", "--l_rate=1e999", "--num_epochs=0", "--num_epochs=-5",
    "--num_epochs=nan", "--num_epochs=3.7", "--num_epochs=abc", "--num_epochs=", "--num_epochs=1_000",
    "--num_epochs=\u0661", "--num_epochs=" + "9" * 5000, "--accumulate_grad_batches=0", "--gradient_clip_val=-1",
    "--limit_train_batches=-1", "--random_seed=-1", "--deterministic=maybe", "--num_epochs=True",
    "--saliency_num_masks=0", "--saliency_mask_probability=nan", "--saliency_mask_probability=0",
]  # fmt: skip


@pytest.mark.parametrize("argument", VALUES, ids=lambda value: value[:30].encode("ascii", "replace").decode())
def test_e3_e12_values_that_cannot_be(
    argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused before anything is made, in one line with the name of the parameter."""
    monkeypatch.chdir(tmp_path)
    assert main([*tiny(argument)[:2], argument]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert argument.partition("=")[0].lstrip("-") in line
    assert len(line) < 1000
    assert not (tmp_path / "outputs").exists()


def test_e14_the_same_bits_again(tmp_path: Path) -> None:
    """With --deterministic two runs are one."""
    from tests.faults.programs import fingerprint

    for name in ("a", "b"):
        run(tmp_path, *tiny(f"--output_to={name}/outputs", "--num_workers=1"))
    assert fingerprint(run_folder(tmp_path / "a")) == fingerprint(run_folder(tmp_path / "b"))
