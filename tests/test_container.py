"""``LightningContainer``: what may be set on it, what it checks, and what it does when nothing is overridden."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import param
import pytest
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from runner import LightningContainer, LRSchedulerType, LRWarmUpType
from runner.container import MisspeltParameterError
from runner.errors import ParameterError


class Mine(LightningContainer):
    """Has a path, an attribute and a property of its own."""

    weights_file = param.ClassSelector(class_=Path, default=None, allow_None=True)
    note = param.String(default="")
    num_epoch = None  # nearly the name of a parameter, but declared
    kept = 0

    @property
    def l_rates(self) -> int:
        return self.kept

    @l_rates.setter
    def l_rates(self, value: int) -> None:
        self.kept = value


def container(cls: Callable[[], LightningContainer] = Mine, /, **values: Any) -> LightningContainer:
    made = cls()
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("name", ["local_dataset", "src_checkpoint", "regression_test_folder", "weights_file"])
def test_a_text_for_a_path_becomes_an_absolute_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """InnerEye containers assign texts to local_dataset; relative ones count from the working directory."""
    monkeypatch.chdir(tmp_path)
    assert getattr(container(**{name: "data/set"}), name) == tmp_path / "data" / "set"
    assert getattr(container(**{name: "/data"}), name) == Path("/data")


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """~ is expanded as a shell does it."""
    monkeypatch.setenv("HOME", "/home/someone")
    assert container(local_dataset="~/data").local_dataset == Path("/home/someone/data")


def test_a_text_for_a_path_may_be_set_in_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds inside the container's own __init__, before and after its super().__init__()."""

    class Sets(Mine):
        def __init__(self) -> None:
            super().__init__(local_dataset="early")  # type: ignore[no-untyped-call]
            self.weights_file = "late"

    monkeypatch.chdir(tmp_path)
    made: Any = container(Sets)
    assert (made.local_dataset, made.weights_file) == (tmp_path / "early", tmp_path / "late")


def test_other_parameters_keep_their_texts() -> None:
    """Only paths are converted: a text stays a text, and a path may be None."""
    made = container(note="a/b", local_dataset=None)
    assert (made.note, made.local_dataset) == ("a/b", None)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("num_epochss", "num_epochs"),
        ("l_rte", "l_rate"),
        ("local_datset", "local_dataset"),
        ("weight_file", "weights_file"),
    ],
)
def test_a_misspelt_parameter_is_an_error(name: str, nearest: str) -> None:
    """Setting an attribute that is nearly a parameter names the parameter and the way out; nothing is set."""
    made = container()
    with pytest.raises(MisspeltParameterError) as caught:
        setattr(made, name, 3)
    assert f"Mine has no parameter {name!r}. Did you mean {nearest!r}?" in str(caught.value)
    assert "declare it in the class body" in str(caught.value)
    assert isinstance(caught.value, AttributeError)
    assert isinstance(caught.value, ParameterError)
    assert not hasattr(made, name)


def test_a_misspelt_parameter_in_init_is_an_error() -> None:
    """The container's own __init__ is checked as well."""

    class Sets(LightningContainer):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.num_epoch = 3

    with pytest.raises(MisspeltParameterError, match="Did you mean 'num_epochs'"):
        container(Sets)


def test_attributes_of_ones_own_may_be_set() -> None:
    """Declared in the class body, begun with an underscore, a property, or unlike any parameter: all are allowed."""
    made: Any = container(num_epoch=1, _num_epochss=2, l_rates=3, backbone="small")
    assert (made.num_epoch, made._num_epochss, made.kept, made.backbone) == (1, 2, 3, "small")


def test_an_attribute_that_is_there_may_be_set_again() -> None:
    """Setting is refused once only: what exists can be changed, also on the instance."""
    made: Any = container()
    object.__setattr__(made, "l_rte", 1)
    made.l_rte = 2
    assert made.l_rte == 2


def test_a_value_out_of_bounds_is_refused_when_it_is_set() -> None:
    """The param library checks assignments, those in __init__ included."""
    with pytest.raises(ValueError, match="num_epochs"):
        container(num_epochs=0)


# --- saliency by default --------------------------------------------------------------------------------------------

IMAGES = torch.arange(8.0).reshape(2, 1, 2, 2)
LABELS = torch.tensor([1, 0])


@pytest.mark.parametrize(
    "batch",
    [
        (IMAGES, LABELS),
        [IMAGES, LABELS],
        [IMAGES, LABELS, "more"],
        {"image": IMAGES, "label": LABELS},
        {"images": IMAGES, "targets": LABELS},
        {"y": LABELS, "x": IMAGES},
        {"id": "a", "input": IMAGES, "class": LABELS},
        (IMAGES, LABELS.reshape(2, 1)),
        (IMAGES, LABELS.float()),
    ],
)
def test_images_and_labels_of_a_batch(batch: Any) -> None:
    """Sequences by their order, mappings by the usual names; labels are whole numbers, one per image."""
    made = container()
    assert made.get_saliency_images(batch) is IMAGES
    labels = made.get_saliency_labels(batch)
    assert labels is not None
    assert labels.dtype == torch.int64
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize("batch", [IMAGES, (IMAGES,), [IMAGES], {"image": IMAGES}])
def test_a_batch_may_have_no_labels(batch: Any) -> None:
    """A bare tensor is the images; labels are None where there are none."""
    made = container()
    assert made.get_saliency_images(batch) is IMAGES
    assert made.get_saliency_labels(batch) is None
    assert made.get_saliency_truth(batch) is None


class Returns(nn.Module):
    """A model that returns the same output whatever comes in."""

    def __init__(self, output: list[Any]) -> None:
        super().__init__()
        self.output = torch.tensor(output)

    def forward(self, _: Tensor) -> Tensor:
        return self.output


@pytest.mark.parametrize(
    ("output", "scores"),
    [
        ([[0.0, 0.0], [0.0, 3.0]], [[0.5, 0.5], [0.047426, 0.952574]]),
        ([[0.0], [3.0]], [[0.5], [0.952574]]),
        ([0.0, 3.0], [[0.5], [0.952574]]),
        ([[[[0.0]], [[0.0]]], [[[0.0]], [[3.0]]]], [[0.5, 0.5], [0.047426, 0.952574]]),
    ],
    ids=["two columns", "one column", "no column", "two columns of one pixel"],
)
def test_scores_are_probabilities(output: list[Any], scores: list[list[float]]) -> None:
    """Softmax over the columns of the output; sigmoid where there is one, as a column."""
    found = container().get_saliency_scores(Returns(output), IMAGES)
    assert torch.allclose(found, torch.tensor(scores), atol=1e-6)


# --- what was read --------------------------------------------------------------------------------------------------


def test_optimizer_parameters_that_nobody_read() -> None:
    """After watch_reads, reads of optimizer parameters are noted, by attribute, getattr and on sub-classes."""
    made = container()
    made.watch_reads()
    everything = made.unread_optimizer_parameters()
    assert {"l_rate", "momentum", "adam_betas"} <= everything
    assert "num_epochs" not in everything
    assert "name" not in everything
    assert [made.l_rate, made.momentum, made.num_epochs]
    assert everything - made.unread_optimizer_parameters() == {"l_rate", "momentum"}


def test_reads_before_the_watch_do_not_count() -> None:
    """What __init__ and validate read is no use of a parameter; each watch begins anew."""
    made = container()
    assert made.l_rate > 0
    made.validate()
    made.watch_reads()
    assert "l_rate" in made.unread_optimizer_parameters()
    assert made.l_rate > 0
    made.watch_reads()
    assert "l_rate" in made.unread_optimizer_parameters()


def test_setting_is_not_reading() -> None:
    """A parameter that is only set stays unread."""
    made = container()
    made.watch_reads()
    made.l_rate = 0.5
    assert "l_rate" in made.unread_optimizer_parameters()


# --- validate -------------------------------------------------------------------------------------------------------


def test_the_defaults_are_valid() -> None:
    """A container without values of its own passes."""
    container().validate()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"number_of_cross_validation_splits": 1}, "at least 2 splits"),
        ({"cross_validation_split_index": 0}, "needs number_of_cross_validation_splits"),
        ({"number_of_cross_validation_splits": 3, "cross_validation_split_index": 3}, "must be below"),
        ({"load_weights_only": True}, "load_weights_only needs src_checkpoint"),
        ({"early_stopping_patience": 3}, "early_stopping_patience needs monitor"),
        ({"min_epochs": 101}, "min_epochs=101 must not be above num_epochs=100"),
        ({"l_rate": float("inf")}, "l_rate must be a finite number"),
        ({"min_l_rate": 1.0}, r"min_l_rate=1\.0 must not be above l_rate=0\.0001"),
        ({"adam_betas": (0.9, 1.0)}, "each must be at least 0 and below 1"),
        ({"adam_betas": (-0.1, 0.9)}, "each must be at least 0 and below 1"),
        ({"l_rate_scheduler": LRSchedulerType.MultiStep}, "needs l_rate_multi_step_milestones"),
        (
            {"l_rate_scheduler": LRSchedulerType.MultiStep, "l_rate_multi_step_milestones": [3, 2]},
            r"rising epochs above 0, not \[3, 2\]",
        ),
        (
            {"l_rate_scheduler": LRSchedulerType.MultiStep, "l_rate_multi_step_milestones": [0, 2]},
            "rising epochs above 0",
        ),
        ({"l_rate_warmup_epochs": 2}, "has no effect with l_rate_warmup=NoWarmUp"),
        ({"saliency_method": "mc_rise"}, "saliency_fill must be numbers, not zero"),
        ({"saliency_method": "custom"}, r"Mine must define get_saliency_generator\(\)"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], message: str) -> None:
    """Each group of parameters says what no single bound can express."""
    with pytest.raises(ParameterError, match=message):
        container(**values).validate()


@pytest.mark.parametrize(
    "values",
    [
        {"number_of_cross_validation_splits": 3, "cross_validation_split_index": 2},
        {"number_of_cross_validation_splits": 3},
        {"load_weights_only": True, "src_checkpoint": "a.ckpt"},
        {"early_stopping_patience": 0, "monitor": "val_loss"},
        {"min_epochs": 100},
        {"min_l_rate": 1e-4},
        {"adam_betas": (0.0, 0.0)},
        {"l_rate_scheduler": LRSchedulerType.MultiStep, "l_rate_multi_step_milestones": [1, 2]},
        {"l_rate_warmup_epochs": 2, "l_rate_warmup": LRWarmUpType.Linear},
        {"saliency_method": "mc_rise", "saliency_fill": [0.0, 1.0]},
    ],
)
def test_what_just_fits_is_allowed(values: dict[str, Any]) -> None:
    """The limits themselves are no contradiction."""
    container(**values).validate()


def test_a_generator_of_ones_own_is_enough_for_custom_maps() -> None:
    """saliency_method=custom asks for the method only."""

    class Generates(Mine):
        def get_saliency_generator(self) -> Any:
            return {}

    container(Generates, saliency_method="custom").validate()


@pytest.mark.parametrize(("splits", "index", "seed"), [(0, -1, 42), (5, -1, 42), (5, 0, 42), (5, 3, 45)])
def test_a_fold_has_a_seed_of_its_own(splits: int, index: int, seed: int) -> None:
    """In a cross validation the index of the fold is added to the seed."""
    made = container(number_of_cross_validation_splits=splits, cross_validation_split_index=index)
    assert made.effective_random_seed == seed
    assert made.is_cross_validation_fold is (splits > 1 and index >= 0)


def test_the_greatest_seed_is_followed_by_0() -> None:
    """The seed of a fold stays within what NumPy takes."""
    made = container(random_seed=2**32 - 1, number_of_cross_validation_splits=2, cross_validation_split_index=1)
    assert made.effective_random_seed == 0


# --- what is not overridden -----------------------------------------------------------------------------------------


def test_the_model_is_there_once_it_was_made() -> None:
    """Before, reading it is an error as in InnerEye; it cannot be replaced from outside."""
    made = container()
    with pytest.raises(ValueError, match="No Lightning module has been set yet"):
        _ = made.model
    made._model = model = LightningModule()
    assert made.model is model
    with pytest.raises(AttributeError):
        made.model = model  # type: ignore[misc]


@pytest.mark.parametrize("method", ["create_model", "get_data_module", "get_saliency_generator"])
def test_what_must_be_defined_is_named(method: str) -> None:
    """A method that is missing is named together with the class that lacks it."""
    with pytest.raises(NotImplementedError, match=rf"Mine must define {method}\(\)"):
        getattr(container(), method)()


def test_the_data_of_inference_are_those_of_training() -> None:
    """get_inference_data_module returns what get_data_module returns."""

    class HasData(Mine):
        def get_data_module(self) -> Any:
            return data

    data = object()
    assert container(HasData).get_inference_data_module() is data


def test_hooks_do_nothing() -> None:
    """Everything that may be overridden can also be called as it is."""
    made = container()
    made.setup()
    made.before_training_on_global_rank_zero()
    made.before_training_on_local_rank_zero()
    made.before_training_on_all_ranks()
    made.create_report()
    assert (made.get_trainer_arguments(), made.get_callbacks(), made.get_parameter_search_space()) == ({}, [], {})
    assert made.get_checkpoint_to_test() is None


def test_a_container_has_no_variants() -> None:
    """A variant that nobody defined is an error that names it."""
    with pytest.raises(ValueError, match="Mine has no variants, so not 'big' either"):
        container().set_model_variant("big")


def test_containers_do_not_share_values() -> None:
    """Lists and values set on one container are not those of another."""
    one, two = container(), container()
    one.extra_local_dataset_paths.append(Path("/data"))
    one.l_rate = 0.5
    assert two.extra_local_dataset_paths == []
    assert two.l_rate == 1e-4
