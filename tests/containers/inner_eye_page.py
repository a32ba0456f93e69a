"""The examples of InnerEye's page "Bring Your Own PyTorch Lightning Model", "..." filled, only imports changed."""

from pathlib import Path
from typing import Any, Dict  # noqa: UP035 - as printed

import param
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from runner import InnerEyeInference, LightningContainer, LightningModuleWithOptimizer


class MyLightningModel(LightningModule):
    def __init__(self, num_layers=1):
        super().__init__()  # the page leaves this out; torch has never allowed that
        self.layer = torch.nn.Linear(1, 1)
        self.num_layers = num_layers

    def training_step(self, batch, *args, **kwargs):
        return torch.nn.functional.mse_loss(self(batch[0]), batch[1])

    def forward(self, x, *args, **kwargs):
        return self.layer(x)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def test_step(self, batch, *args, **kwargs):
        self.log("test_loss", torch.nn.functional.mse_loss(self(batch[0]), batch[1]))
        Path("layers.txt").write_text(str(self.num_layers))


class MyDataModule(LightningDataModule):
    def __init__(self, root_path: Path):
        # All data should be read from the folder given in self.root_path
        self.root_path = root_path

    def _loader(self) -> DataLoader:
        numbers = [float(line) for line in (self.root_path / "numbers.txt").read_text().split()]
        x = torch.tensor(numbers).reshape(-1, 1)
        return DataLoader(TensorDataset(x, 3 * x), batch_size=4)

    def train_dataloader(self, *args, **kwargs) -> DataLoader:
        return self._loader()

    def val_dataloader(self, *args, **kwargs) -> DataLoader:
        # The data should be read off self.root_path
        return self._loader()

    def test_dataloader(self, *args, **kwargs) -> DataLoader:
        # The data should be read off self.root_path
        return self._loader()


class MyContainer(LightningContainer):
    def __init__(self):
        super().__init__()
        self.azure_dataset_id = "folder_name_in_azure_blob_storage"
        self.local_dataset = "/some/local/path"
        self.num_epochs = 42

    def create_model(self) -> LightningModule:
        return MyLightningModel()

    def get_data_module(self) -> LightningDataModule:
        return MyDataModule(root_path=self.local_dataset)


class DummyContainerWithParameters(LightningContainer):
    num_layers = param.Integer(default=4)

    def create_model(self) -> LightningModule:
        return MyLightningModel(self.num_layers)

    def get_data_module(self) -> LightningDataModule:
        return MyDataModule(root_path=self.local_dataset)


class Container1(LightningContainer):
    def __init__(self):
        super().__init__()
        self.azure_dataset_id = "azure_dataset"
        self.num_epochs = 20

    def create_model(self) -> LightningModule:
        return MyLightningModel()

    def get_data_module(self) -> LightningDataModule:
        # This should read data from self.local_dataset. Before training, the data folder "azure_dataset
        # (given by self.azure_dataset_id) will be downloaded for mounted, and its local path set in
        # self.local_dataset
        return MyDataModule(root_path=self.local_dataset)

    def get_trainer_arguments(self) -> Dict[str, Any]:  # noqa: UP006 - as printed
        # These arguments will be passed through to the Lightning trainer.
        return {"gradient_clip_val": 1, "limit_train_batches": 10}


class ModelWithOptimizer(LightningModuleWithOptimizer):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, *args, **kwargs):
        self.log("l_rate", self.optimizers().param_groups[0]["lr"])
        return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])


class ContainerWithOptimizer(MyContainer):
    def create_model(self) -> LightningModule:
        return ModelWithOptimizer()


class ModelWithInference(MyLightningModel, InnerEyeInference):
    def forward(self, item):
        self.items = [*getattr(self, "items", []), len(item)]
        return self.layer(item[0])

    def training_step(self, batch, *args, **kwargs):
        return torch.nn.functional.mse_loss(self(batch), batch[1])

    def inference_step(self, item, batch_idx, model_output):
        assert model_output.shape == item[1].shape

    def on_inference_end(self):
        Path("inference.txt").write_text("done")


class ContainerWithInference(MyContainer):
    def create_model(self) -> LightningModule:
        return ModelWithInference()
