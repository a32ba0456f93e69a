"""The test phase: how many items a batch has, and which weights are tested."""

from pathlib import Path
from typing import Any

import param
import pytest
import torch
from pytorch_lightning import LightningModule
from torch import nn

from runner.checkpoint_files import write_checkpoint_file
from runner.container import LightningContainer
from runner.errors import CheckpointError
from runner.phases.testing import count_items
from runner.phases.weights import use_chosen_weights
from runner.run_folder import RunFolder
from tests.saliency_samples import Sample, make_run


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        (torch.zeros(3, 2), 3),
        ([torch.zeros(3, 2), torch.zeros(3)], 3),
        ({"name": ["a", "b"], "image": torch.zeros(2, 5)}, 2),
        ({"deep": {"image": (torch.tensor(7), torch.zeros(4))}}, 4),
        (["a", "b", "c"], 3),
        ([("a", "b"), (1, 2)], 2),
        ({"names": ["a", "b"]}, 2),
        ([], 0),
        ("text", 1),
        (torch.tensor(7), 1),
        (None, 1),
    ],
)
def test_items_are_counted_in_whatever_form_a_batch_has(batch: Any, count: int) -> None:
    """By the first tensor that has a dimension, else by lists; what is neither counts as one."""
    assert count_items(batch) == count


class Model(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Choosing(Sample):
    """Names its checkpoint itself."""

    def get_checkpoint_to_test(self) -> Path | None:
        return Path("mine.ckpt")


def write(path: Path, value: float) -> None:
    content = {"state_dict": {"weight": torch.tensor([value])}}
    write_checkpoint_file(path, lambda file: torch.save(content, file))  # type: ignore[arg-type]


def chosen(path: Path, container: LightningContainer) -> tuple[str | None, float]:
    """Return where the weights are said to be from, and what they are."""
    run = make_run(path, container, model=Model())
    use_chosen_weights(run)
    return run.weights_from, run.model.state_dict()["weight"].item()


def test_the_best_weights_are_tested_else_the_last(tmp_path: Path) -> None:
    """Else those that training left in memory."""
    assert chosen(tmp_path, Sample()) == ("as training left them; no checkpoint was written", 0.0)
    write(RunFolder(tmp_path).last_checkpoint, 1.0)
    assert chosen(tmp_path, Sample()) == ("checkpoints/last.ckpt", 1.0)
    write(RunFolder(tmp_path).best_checkpoint, 2.0)
    assert chosen(tmp_path, Sample()) == ("checkpoints/best.ckpt", 2.0)


def test_the_container_may_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there is told before anything is tested."""
    monkeypatch.chdir(tmp_path)
    write(RunFolder(tmp_path / "run").best_checkpoint, 2.0)
    with pytest.raises(CheckpointError, match=r"get_checkpoint_to_test returned .*/mine\.ckpt, which is no file"):
        chosen(tmp_path / "run", Choosing())
    write(Path("mine.ckpt"), 3.0)
    assert chosen(tmp_path / "run", Choosing()) == (str(tmp_path / "mine.ckpt"), 3.0)


def test_weights_of_another_run_without_training(tmp_path: Path) -> None:
    """With training they are only where it starts."""
    write(RunFolder(tmp_path / "other").best_checkpoint, 5.0)
    write(RunFolder(tmp_path / "run").best_checkpoint, 2.0)
    other = tmp_path / "other"
    found = str(RunFolder(other).best_checkpoint)
    assert chosen(tmp_path / "run", Sample(src_checkpoint=other, train=False)) == (found, 5.0)
    assert chosen(tmp_path / "run", Sample(src_checkpoint=other)) == ("checkpoints/best.ckpt", 2.0)


def test_other_settings_than_the_weights_were_trained_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Are told, where the other run was of the same container; the framework's own parameters may differ."""
    other, mine = RunFolder(tmp_path / "other"), RunFolder(tmp_path / "mine")
    write(other.best_checkpoint, 5.0)
    mine.path.mkdir()
    mine.config.write_text("model: Choosing\nsize: 128  # default\nname_of: a  # default\nnum_epochs: 3  # default\n")

    class Choosing(Sample):
        size = param.Integer(default=128)
        name_of = param.String(default="a")

    def said(config: str) -> str:
        caplog.clear()
        other.config.write_text(config)
        chosen(mine.path, Choosing(src_checkpoint=other.path, train=False))
        return caplog.text

    same = "model: /some/where.py:Choosing\nname_of: a  # command line\nnum_epochs: 9\n"
    assert "trained with: size was 64, is 128" in said(same + "size: 64  # command line")
    assert "trained with" not in said(same + "size: 128  # command line")
    assert "trained with" not in said(same.replace("Choosing", "Another") + "size: 64")


def test_weights_that_training_wrote_and_that_are_gone(tmp_path: Path) -> None:
    """Are not replaced by others."""
    folder = RunFolder(tmp_path)
    folder.add_results("train", {"checkpoint": "best.ckpt"})
    write(folder.last_checkpoint, 1.0)
    with pytest.raises(CheckpointError, match=r"best\.ckpt is missing, with the weights that training chose"):
        chosen(tmp_path, Sample())
    assert chosen(tmp_path, Sample(train=False)) == ("checkpoints/last.ckpt", 1.0)
