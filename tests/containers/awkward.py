"""Models and data that break careless frameworks."""

from pathlib import Path

import torch
from containers.plain import Line, Plain, Points
from pytorch_lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, IterableDataset

from runner import InnerEyeInference, LightningContainer, ModelExecutionMode


class DictLine(Line):
    def _loss(self, batch, name):
        loss = torch.nn.functional.mse_loss(self(batch["x"]), batch["y"])
        self.log(f"{name}_loss", loss, on_epoch=True, on_step=False)
        return {"loss": loss, "more": {"x": batch["x"]}}


class Stream(IterableDataset):
    def __iter__(self):
        for number in range(20):
            x = torch.tensor([number / 20])
            yield {"x": x, "y": 2 * x + 1}


class StreamData(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(Stream(), batch_size=4)

    def val_dataloader(self):
        return DataLoader(Stream(), batch_size=4)

    def test_dataloader(self):
        return DataLoader(Stream(), batch_size=4)


class DictStream(LightningContainer):
    """Batches and outputs are dicts, the data has no length."""

    def __init__(self):
        super().__init__()
        self.num_epochs = 1

    def create_model(self):
        return DictLine()

    def get_data_module(self):
        return StreamData()


class TrainOnly(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return DataLoader(torch.utils.data.TensorDataset(torch.ones(8, 1), torch.ones(8, 1)), batch_size=4)


class NothingButTraining(Plain):
    """No validation, no test, no data module: the model brings its own data."""

    def create_model(self):
        return TrainOnly()

    def get_data_module(self):
        return None


class NoTestDataModule(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(torch.utils.data.TensorDataset(torch.ones(8, 1), torch.ones(8, 1)), batch_size=4)


class NoTestData(Plain):
    """The model has a test_step, but there is no data for it."""

    def get_data_module(self):
        return NoTestDataModule()


class InferenceLine(Line, InnerEyeInference):
    def on_inference_start(self):
        self.calls = ["start"]
        assert not self.training
        assert not torch.is_grad_enabled()

    def on_inference_epoch_start(self, dataset_split, is_ensemble_model):
        assert is_ensemble_model is False
        assert isinstance(dataset_split, ModelExecutionMode)
        self.calls.append(f"epoch_start {dataset_split.value}")

    def get_inference_input(self, item):
        return item[0]

    def inference_step(self, item, batch_idx, model_output):
        assert model_output.shape == item[1].shape
        self.calls.append(f"step {batch_idx} {len(item[0])}")

    def on_inference_epoch_end(self):
        self.calls.append("epoch_end")

    def on_inference_end(self):
        Path("inference.txt").write_text("\n".join([*self.calls, "end"]))


class OtherPoints(Points):
    def test_dataloader(self):
        return DataLoader(self.points, batch_size=25)


class Inference(Plain):
    """The model has both test_step and inference_step; inference has data of its own."""

    def create_model(self):
        return InferenceLine()

    def get_inference_data_module(self):
        return OtherPoints()


class Recorder(Plain):
    """Writes down which of its methods are called, and where."""

    def __init__(self):
        super().__init__()
        self._calls = ["init"]
        self._start = Path.cwd()

    def _note(self, name):
        where = "launch" if Path.cwd() == self._start else "run"
        self._calls.append(f"{name} {where}")

    def validate(self):
        super().validate()
        self._note("validate")

    def setup(self):
        self._note("setup")

    def create_model(self):
        self._note("create_model")
        return super().create_model()

    def get_data_module(self):
        self._note("get_data_module")
        return super().get_data_module()

    def before_training_on_global_rank_zero(self):
        self._note("global")

    def before_training_on_local_rank_zero(self):
        self._note("local")

    def before_training_on_all_ranks(self):
        self._note("all")

    def create_report(self):
        self._note("create_report")
        Path("report.txt").write_text("\n".join(self._calls))


class Arguments(Plain):
    """Returns trainer arguments, as on InnerEye's page."""

    def get_trainer_arguments(self):
        return {"gradient_clip_val": 1, "limit_train_batches": 3}


class WrongArgument(Plain):
    """Returns a trainer argument that does not exist."""

    def get_trainer_arguments(self):
        return {"limit_train_batchs": 3}


class FailsInTraining(Plain):
    """Its model raises in training."""

    def create_model(self):
        class Raises(Line):
            def training_step(self, batch, batch_idx):
                raise ZeroDivisionError("a bug in user code")

        return Raises()


class PathInHyperParameters(Plain):
    """Its model saves hyper-parameters that torch's safe loading refuses."""

    def create_model(self):
        class Saves(Line):
            def __init__(self, folder, mode):
                super().__init__()
                self.save_hyperparameters()

        return Saves(Path("somewhere"), ModelExecutionMode.TEST)


class SizedPoints(Points):
    def __init__(self):
        super().__init__()
        self.batch_size = 2

    def train_dataloader(self):
        return DataLoader(self.points, batch_size=self.batch_size)


class Sized(Plain):
    """Its data module has a batch_size."""

    def get_data_module(self):
        return SizedPoints()
