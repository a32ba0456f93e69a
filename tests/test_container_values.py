"""Who wins, who is said to have set a value, and how mistakes in values are reported."""

from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import combinations
from pathlib import Path
from typing import Any

import param
import pytest

from runner import LightningContainer
from runner.command_line import parse_command_line
from runner.config_files import ConfigValue, read_config
from runner.container_values import OTHER_NAMES, ContainerValues, build_container, unknown_name
from runner.errors import ParameterError, RunFailedError, UsageError, UserCodeError
from runner.param_values import settable_parameters
from runner.preparation import Plan, prepare, prepare_container


class Size(Enum):
    SMALL = 1
    LARGE = 2


class Base(LightningContainer):
    num_layers = param.Integer(default=1, bounds=(1, 100))
    size = param.ClassSelector(class_=Size, default=Size.SMALL)
    flag = param.Boolean(default=False)
    no_noise = param.Boolean(default=False)
    fixed = param.Integer(default=1, constant=True)
    anything = param.Callable(default=None)


class Mine(Base):
    """Sets values in its class body, in __init__ and in a variant."""

    random_seed = param.Integer(default=7, bounds=(0, None))

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.num_layers = 2
        self.l_rate = 0.5

    def set_model_variant(self, model_variant: str) -> None:
        if model_variant != "big":
            super().set_model_variant(model_variant)
        self.num_layers = 3
        self.num_epochs = 33


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(text: str, name: str = "mine.yaml") -> list[ConfigValue]:
    """Return the values of a configuration file with *text*."""
    Path(name).write_text(text)
    return read_config(name, Path("configs"))


def build(
    *argv: str,
    cls: type[LightningContainer] = Mine,
    settings: Sequence[ConfigValue] = (),
    arguments: Mapping[str, Any] | None = None,
) -> ContainerValues:
    return build_container(cls, settings, parse_command_line(argv).overrides, arguments)


def refusal(*argv: str, **keywords: Any) -> str:
    """Return the message with which the values are refused."""
    with pytest.raises(UsageError) as caught:
        build(*argv, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- who wins -------------------------------------------------------------------------------------------------------

STRENGTH = ["variant", "file", "second file", "command line", "argument"]
"""From the weakest to the strongest; all beat what the class and __init__ say, which is 2."""
EXPECTED = {
    "variant": (3, "model_variant=big"),
    "file": (4, "mine.yaml:1"),
    "second file": (5, "more.yaml:2"),
    "command line": (6, "command line"),
    "argument": (7, "argument of run()"),
}


@pytest.mark.parametrize(
    "givers", [chosen for count in range(1, 6) for chosen in combinations(STRENGTH, count)], ids=" + ".join
)
def test_the_strongest_wins(givers: tuple[str, ...]) -> None:
    """Class < __init__ < variant < files in their order < command line, in every combination; the winner is noted."""
    settings = config("num_layers: 4\n") if "file" in givers else []
    settings += config("# a comment\nnum_layers: 5\n", "more.yaml") if "second file" in givers else []
    argv = ["--num_layers=6"] if "command line" in givers else []
    argv += ["--model_variant=big"] if "variant" in givers else []
    values = build(*argv, settings=settings, arguments={"num_layers": 7} if "argument" in givers else {})
    value, origin = EXPECTED[max(givers, key=STRENGTH.index)]
    assert (values.container.num_layers, values.origin("num_layers")) == (value, origin)


@pytest.mark.parametrize("place", ["file", "command line", "argument"])
def test_a_variant_may_be_chosen_anywhere(place: str) -> None:
    """Wherever its name comes from, the variant is applied before all files and the command line."""
    settings = config("num_epochs: 44\n" + ("model_variant: big\n" if place == "file" else ""))
    argv = ["--model_variant=big"] if place == "command line" else []
    values = build(*argv, settings=settings, arguments={"model_variant": "big"} if place == "argument" else {})
    assert (values.container.num_epochs, values.origin("num_epochs")) == (44, "mine.yaml:1")
    assert values.origin("num_layers") == "model_variant=big"


def test_the_strongest_variant_is_applied_alone() -> None:
    """A variant in a file that the command line replaces leaves no traces."""
    values = build("--model_variant=", settings=config("model_variant: big\n"))
    assert (values.container.num_epochs, values.origin("model_variant")) == (100, "command line")


def test_a_variant_that_is_not_there_is_a_usage_error() -> None:
    """The container's ValueError is shown with the name of the variant."""
    assert refusal("--model_variant=huge") == "model_variant=huge: Mine has no variants, so not 'huge' either."


def test_what_nobody_set_is_default() -> None:
    """Values of the container, be it class body or __init__, are told from the framework's defaults."""
    values = build()
    origins = {name: values.origin(name) for name in ("num_layers", "l_rate", "random_seed", "num_epochs", "size")}
    assert origins == {
        "num_layers": "container",
        "l_rate": "container",
        "random_seed": "container",
        "num_epochs": "default",
        "size": "default",
    }
    assert values.container.random_seed == 7


def test_setting_a_value_to_what_it_was_is_noted() -> None:
    """Who says the default aloud has set it."""
    assert build("--num_epochs=100").origin("num_epochs") == "command line"


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("other", "ours"), OTHER_NAMES.items())
def test_names_of_other_frameworks_lead_to_ours(other: str, ours: str) -> None:
    """What Lightning, InnerEye and others call a parameter is answered with our name, which exists."""
    assert f"Did you mean --{ours}?" in refusal(f"--{other}=1")
    assert f"Did you mean --{ours}?" in unknown_name(Mine, f"pl_{other}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("num_epoch", "--num_epochs"),
        ("NUM_EPOCHS", "--num_epochs"),
        ("num_layer", "--num_layers"),
        ("pl_deterministic", "--deterministic"),
        ("pl_limit_train_batches", "--limit_train_batches"),
        ("modle", "--model"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, hint: str) -> None:
    """Parameters and options of the program are both looked through."""
    message = refusal(f"--{name}=1")
    assert message.startswith(f"Mine has no parameter {name!r}. Did you mean --")
    assert hint in message


@pytest.mark.parametrize("name", ["fixed", "anything"])
def test_what_cannot_be_set_from_outside_is_said(name: str) -> None:
    """A constant, or an object without text, exists but cannot be set."""
    assert "It is there but cannot be set from outside" in refusal(f"--{name}=1")


def test_unknown_names_in_files_have_their_line() -> None:
    """The place comes first; names are without dashes there."""
    message = refusal(settings=config("l_rate: 0.1\nnum_epoch: 3\n"))
    assert message.startswith("mine.yaml:2: Mine has no parameter 'num_epoch'. Did you mean num_epochs")
    assert "--" not in message


def test_unknown_arguments_are_named() -> None:
    """run(num_epoch=3) is answered as the command line is."""
    message = refusal(arguments={"num_epoch": 3})
    assert message.startswith("Mine has no parameter 'num_epoch'. Did you mean num_epochs")
    assert "--" not in message
    assert "no parameter 'name'" in refusal(arguments={"name": "x"})


def test_collisions_with_options_of_the_program_are_named() -> None:
    """One name space: a container's parameter with the name of an option is refused before anything is set."""

    class Collides(LightningContainer):
        json = param.Boolean(default=False)

    message = refusal(cls=Collides)
    assert message.startswith("Collides.json has the name of the program's own option --json (")
    assert message.endswith("Give the parameter another name.")


# --- flags and values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--flag"], "flag", True),
        (["--flag=off"], "flag", False),
        (["--no-flag"], "flag", False),
        (["--no_train"], "train", False),
        (["--no-noise"], "no_noise", True),
        (["--no-no-noise"], "no_noise", False),
        (["--deterministic"], "deterministic", True),
        (["--fast-dev-run"], "fast_dev_run", True),
        (["--fast-dev-run=3"], "fast_dev_run", 3),
    ],
)
def test_flags(argv: list[str], name: str, value: Any) -> None:
    """A bare flag is True and --no-flag is False, unless a parameter really has that name."""
    values = build(*argv)
    assert getattr(values.container, name) == value
    assert type(getattr(values.container, name)) is type(value)
    assert values.origin(name) == "command line"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--no-flag=true"], "--no-flag takes no value; use --flag=true."),
        (["--num-layers"], "--num-layers needs a value: --num-layers=int in [1, 100]."),
        (["--no-num-layers"], "Mine has no parameter 'no_num_layers'"),
        (["--num-layers=x"], "--num-layers=x: "),
        (["--num_layers=0"], "--num_layers=0: "),
        (["--num_layers=101"], "--num_layers=101: "),
        (["--size=HUGE"], "--size=HUGE: "),
        (["--flag=maybe"], "--flag=maybe: "),
    ],
)
def test_mistakes_on_the_command_line_show_the_flag_as_typed(argv: list[str], message: str) -> None:
    """The message begins with what was typed, and ends with one full stop."""
    found = refusal(*argv)
    assert found.startswith(message)
    assert found.endswith((".", "?"))
    assert not found.endswith("..")


@pytest.mark.parametrize(
    ("line", "allowed"), [("num_layers: 0", "100"), ("num_layers: x", "int"), ("size: HUGE", "SMALL")]
)
def test_mistakes_in_files_show_the_line(line: str, allowed: str) -> None:
    """The message begins with file, line and name, and says what is allowed."""
    message = refusal(settings=config(f"\n\n{line}\n"))
    assert message.startswith(f"mine.yaml:3: {line.partition(':')[0]}: ")
    assert allowed in message


@pytest.mark.parametrize("value", [0, "0", "x", 1.5, None, [1]])
def test_mistakes_in_arguments_show_the_value(value: Any) -> None:
    """run(num_layers=...) takes the parameter's own type or its text."""
    assert refusal(arguments={"num_layers": value}).startswith((f"num_layers={value!r}: ", f"num_layers={value}: "))


def test_arguments_may_be_values_or_texts() -> None:
    """An enum or its name, a number or its text; a text parameter keeps its text."""
    values = build(arguments={"size": "LARGE", "num_layers": "9", "tag": "7", "l_rate": 0.25, "anything": len})
    container: Any = values.container
    assert (container.size, container.num_layers, container.tag, container.l_rate) == (Size.LARGE, 9, "7", 0.25)
    assert container.anything is len


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["command line", "file", "argument", "path as argument"])
def test_relative_paths_count_from_the_launch_folder(project: Path, place: str) -> None:
    """They are absolute before the working directory changes, whoever gave them; lists of paths too."""
    argv: list[str] = []
    settings: list[ConfigValue] = []
    arguments: dict[str, Any] = {}
    if place == "command line":
        argv = ["--local_dataset=data", "--extra_local_dataset_paths=one,two"]
    elif place == "file":
        settings = config("local_dataset: data\nextra_local_dataset_paths: [one, two]\n")
    elif place == "argument":
        arguments = {"local_dataset": "data", "extra_local_dataset_paths": "one,two"}
    else:
        arguments = {"local_dataset": Path("data"), "extra_local_dataset_paths": [Path("one"), Path("two")]}
    container = build(*argv, settings=settings, arguments=arguments).container
    assert container.local_dataset == project / "data"
    assert container.extra_local_dataset_paths == [project / "one", project / "two"]


def test_paths_of_the_container_are_made_absolute(project: Path) -> None:
    """Those from the class body and from __init__ as well."""

    class Sets(LightningContainer):
        weights = param.ClassSelector(class_=Path, default=Path("a"))

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.extra_local_dataset_paths = [Path("b")]

    container: Any = build(cls=Sets).container
    assert (container.weights, container.extra_local_dataset_paths) == (project / "a", [project / "b"])


# --- user code ------------------------------------------------------------------------------------------------------


def raises(error: Exception, where: str) -> type[LightningContainer]:
    """Return a container that raises *error* in one of its methods."""

    def method(self: Any, *_: Any) -> None:
        raise error

    return type("Raises", (LightningContainer,), {where: method})


@pytest.mark.parametrize(
    ("error", "where", "kind", "message"),
    [
        (ValueError("too many layers"), "validate", ParameterError, "too many layers"),
        (ParameterError("said well"), "validate", ParameterError, "said well"),
        (KeyError("a bug"), "validate", UserCodeError, r"Raises\.validate\(\) failed"),
        (KeyError("a bug"), "__init__", UserCodeError, r"Raises\(\) failed"),
        (ValueError("a bug"), "__init__", UserCodeError, r"Raises\(\) failed"),
        (RunFailedError("said well"), "__init__", RunFailedError, "said well"),
    ],
)
def test_errors_of_the_container(error: Exception, where: str, kind: type[Exception], message: str) -> None:
    """A ValueError in validate is a mistake in the values; other exceptions are bugs, which keep their cause."""
    with pytest.raises(kind, match=message) as caught:
        build(cls=raises(error, where))
    assert type(caught.value) is kind
    assert caught.value is error or caught.value.__cause__ is error


def test_validate_sees_the_final_values() -> None:
    """It is called once, after files and command line."""
    seen = []

    class Checks(Mine):
        def validate(self) -> None:
            super().validate()
            seen.append(self.num_layers)

    build("--num_layers=9", cls=Checks, settings=config("num_layers: 8\n"))
    assert seen == [9]


def test_a_misspelling_in_init_has_its_line() -> None:
    """File and line of the assignment are shown, not a traceback."""

    class Misspells(LightningContainer):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.num_epoch = 3

    line = Misspells.__init__.__code__.co_firstlineno + 2
    message = refusal(cls=Misspells)
    assert message.startswith(f"{__file__}:{line}: Misspells has no parameter 'num_epoch'. Did you mean 'num_epochs'?")


def test_every_name_of_another_framework_leads_somewhere() -> None:
    """The table names parameters or options that there are, and none of its keys is one itself."""
    from runner.command_line import OPTIONS

    known = {*settable_parameters(LightningContainer), *OPTIONS}
    assert set(OTHER_NAMES.values()) <= known
    assert not set(OTHER_NAMES) & known


# --- before a run ---------------------------------------------------------------------------------------------------


def test_the_model_may_be_in_the_file() -> None:
    """A configuration names its container; a later file's name wins, and --model may only say the same."""
    containers = Path("containers")
    containers.mkdir()
    for name in ("One", "Two"):
        (containers / f"{name.lower()}_of_two.py").write_text(
            f"from runner import LightningContainer\nclass {name}(LightningContainer):\n    '''{name}.'''\n"
        )
    Path("a.yaml").write_text("model: One\nnum_epochs: 3\n")
    Path("b.yaml").write_text("model: Two\n")
    assert prepare(Plan(config=["a.yaml"])).name == "One"
    assert prepare(Plan(config=["a.yaml", "b.yaml"])).name == "Two"
    prepared = prepare(Plan(model="One", config=["a.yaml"]))
    assert (prepared.name, prepared.model, prepared.container.num_epochs) == ("One", "One", 3)
    with pytest.raises(UsageError, match=r"a\.yaml:1: is for One, but --model=Two was given"):
        prepare(Plan(model="Two", config=["a.yaml"]))


def test_without_a_model_nothing_runs() -> None:
    """Neither command line nor file names one."""
    with pytest.raises(UsageError, match="--model=NAME"):
        prepare(Plan())


def test_a_class_is_found_again_by_its_file() -> None:
    """A container given as a class is recorded with the file it is in."""
    assert prepare_container(Plan(model=Mine)).model == f"{Path(__file__).resolve()}:Mine"


def prepare_mine(**values: Any) -> LightningContainer:
    return prepare(Plan(model=Mine, arguments=values)).container


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": False}, "--src_checkpoint=<file or run folder>"),
        ({"src_checkpoint": "nowhere"}, "there is no file or run folder"),
        ({"src_checkpoint": "there"}, r"there holds neither checkpoints/best\.ckpt nor checkpoints/last\.ckpt"),
        ({"src_checkpoint": "there/a.ckpt"}, "--load_weights_only.*--train=False.*--resume"),
        ({"local_dataset": "nowhere"}, "local_dataset: there is no"),
        ({"extra_local_dataset_paths": ["there", "nowhere"]}, "extra_local_dataset_paths: there is no .*nowhere"),
        ({"regression_test_folder": "nowhere"}, "regression_test_folder: there is no"),
    ],
)
def test_files_and_contradictions_are_checked_first(project: Path, values: dict[str, Any], message: str) -> None:
    """What cannot work is a ParameterError that says what to do."""
    (project / "there").mkdir()
    (project / "there" / "a.ckpt").touch()
    values = {
        name: [Path(each) for each in value] if isinstance(value, list) else value for name, value in values.items()
    }
    with pytest.raises(ParameterError, match=message):
        prepare_mine(**values)


def test_a_checkpoint_is_the_file_that_its_link_means_now(project: Path) -> None:
    """outputs/latest is followed before it points to the new run."""
    (project / "run" / "checkpoints").mkdir(parents=True)
    (project / "run" / "checkpoints" / "last.ckpt").touch()
    (project / "latest").symlink_to("run")
    container = prepare_mine(src_checkpoint="latest", train=False)
    assert container.src_checkpoint == project / "run"


def test_a_container_may_choose_its_checkpoint_itself() -> None:
    """train=False needs no src_checkpoint where get_checkpoint_to_test is overridden."""

    class Chooses(Mine):
        def get_checkpoint_to_test(self) -> Path | None:
            return Path("a.ckpt")

    assert prepare(Plan(model=Chooses, arguments={"train": False})).container.train is False


def test_what_is_not_looked_at_may_be_missing() -> None:
    """--help and --print_config work where files are missing."""
    prepared = prepare_container(Plan(model=Mine, arguments={"local_dataset": "nowhere"}))
    assert prepared.container.local_dataset == Path("nowhere").absolute()


def test_only_a_run_folder_can_be_resumed(project: Path) -> None:
    """A folder without config.yaml is none."""
    with pytest.raises(UsageError, match=r"is no run folder: it has no config\.yaml"):
        prepare_container(Plan(resume=project))
