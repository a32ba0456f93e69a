"""Model, data and callback of the guinea pig of the fault tests."""

import os
import signal
import time
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningDataModule
from torch import nn
from torch.utils.data import DataLoader, Dataset

from runner import LightningModuleWithOptimizer

SIZE = 8


def hang():
    """Never return, whatever is raised."""
    Path("hangs").touch()
    while True:
        try:
            time.sleep(1)
        except BaseException:
            continue


def wait():
    """Wait until a test has seen it and lets the run go on: what it does meanwhile comes neither early nor late."""
    Path("waits").touch()
    while not Path("go on").exists():
        time.sleep(0.01)


class Bright(LightningModuleWithOptimizer):
    def __init__(self, container):
        super().__init__()
        self.fault, self.at = container.fault, container.at
        self.image_seconds = container.image_seconds
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(SIZE * SIZE, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)
        )

    def forward(self, images):
        if self.image_seconds:
            time.sleep(self.image_seconds)
        return self.layers(images)

    def _loss(self, batch, name):
        images, labels = batch
        logits = self(images)
        loss = nn.functional.cross_entropy(logits, labels)
        self.log(f"{name}_loss", loss, on_step=False, on_epoch=True)
        self.log(f"{name}_acc", (logits.argmax(1) == labels).float().mean(), on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch, index):
        loss = self._loss(batch, "train")
        if self.global_step == self.at:
            if self.fault == "nan loss":
                return loss * float("nan")
            if self.fault == "nan gradient":
                self.layers[1].weight.register_hook(lambda grad: grad * float("inf"))
            if self.fault == "step raises":
                raise ValueError("the step is <b>wrong</b>")
            if self.fault == "out of memory":
                raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return loss

    def validation_step(self, batch, index):
        if self.fault == "validation raises" and self.current_epoch == 1:
            raise ValueError("validation")
        self._loss(batch, "val")

    def test_step(self, batch, index):
        if self.fault == "test raises":
            raise ValueError("test")
        self._loss(batch, "test")


class TellingBright(Bright):
    def test_step(self, batch, index):
        super().test_step(batch, index)
        labels = batch[1].float().mean()
        if self.fault == "logs steps":
            self.log("label", labels, on_step=True, on_epoch=True)
        if self.fault != "logs rarely" or self.global_rank == 0:
            self.log("rare", labels)
        return {"logits": self(batch[0]), "labels": batch[1]}


class Images(Dataset):
    def __init__(self, container, split):
        self.fault, self.at, self.split = container.fault, container.at, split
        count = 0 if self.fault == f"empty {split}" else container.num_items
        generator = torch.Generator().manual_seed(("train", "val", "test").index(split))
        self.labels = torch.arange(count) % 2
        self.images = torch.rand(count, 1, SIZE, SIZE, generator=generator) * 0.8
        self.images += 0.2 * self.labels[:, None, None, None]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image, label = self.images[index], self.labels[index]
        split = "test" if self.fault.startswith("test ") else "train"
        if index == self.at and self.split == split:
            match self.fault.removeprefix("test "):
                case "item raises":
                    raise OSError(f"cannot read scan_{index}.png")
                case "worker dies":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "loader hangs":
                    hang()
                case "wrong shape":
                    image = image[:, :-1]
                case "nan image":
                    image = image * float("nan")
                case "bad label":
                    label = label + 7
        return image, label


class Squares(LightningDataModule):
    def __init__(self, container):
        super().__init__()
        self.container = container
        self.sets = {split: Images(container, split) for split in ("train", "val", "test")}

    def prepare_data(self):
        if self.container.fault == "slow preparation":
            Path("preparing").touch()
            time.sleep(600)

    def _loader(self, split):
        is_short = self.container.fault == f"no full batch {split}"
        return DataLoader(
            self.sets[split],
            batch_size=64 if is_short else 8,
            shuffle=split == "train" and len(self.sets[split]) > 0,
            drop_last=is_short,
            num_workers=self.container.num_workers,
        )

    def train_dataloader(self):
        return self._loader("train")

    def val_dataloader(self):
        return self._loader("val")

    def test_dataloader(self):
        return self._loader("test")


def hold(seconds, brake):
    """Sleep, but no longer than the brake is on."""
    end = time.monotonic() + seconds
    while brake.exists() and time.monotonic() < end:
        time.sleep(0.05)


class Misbehaving(Callback):
    def __init__(self, container):
        self.fault, self.at, self.seconds = container.fault, container.at, container.step_seconds
        self.brake = container.brake

    def on_train_batch_end(self, trainer, *_):
        if not self.brake:
            time.sleep(self.seconds)
        elif trainer.current_epoch > 0:
            hold(self.seconds, Path(self.brake))
        if self.fault == "ends early" and trainer.global_step == self.at:
            os._exit(0)
        if self.fault == "stubborn" and trainer.global_step == self.at:
            hang()
        if self.fault == "waits" and trainer.global_step == self.at:
            wait()

    def on_train_epoch_start(self, trainer, *_):
        if trainer.current_epoch == self.at:
            if self.fault == "checkpoints unwritable":
                Path("checkpoints").rename("moved")
                Path("checkpoints").write_text("a file")
            if self.fault == "folder removed":
                import shutil

                shutil.rmtree(Path.cwd())

    def on_train_end(self, trainer, *_):
        if self.fault == "checkpoints removed":
            for path in Path("checkpoints").glob("*.ckpt"):
                path.unlink()

    def on_fit_end(self, *_):
        if self.fault == "fit end raises":
            raise ValueError("fit end")

    def on_exception(self, trainer, module, exception):
        if self.fault == "step raises":
            raise RuntimeError("and on_exception as well")
