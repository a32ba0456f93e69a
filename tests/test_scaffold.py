"""New containers: two files that are right from the start, or none and a reason."""

import ast
from pathlib import Path

import pytest

from runner.container_loader import scan_folder
from runner.errors import UsageError
from runner.scaffold import new_container


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_container_and_its_test_are_written(tmp_path: Path) -> None:
    """Both files are valid Python without gaps, and the container is found under its name."""
    written = new_container("MyModel", tmp_path / "containers", tmp_path / "tests")
    assert written == [tmp_path / "containers" / "my_model.py", tmp_path / "tests" / "test_my_model.py"]
    assert files_below(tmp_path) == ["containers/my_model.py", "tests/test_my_model.py"]
    for path in written:
        ast.parse(path.read_text(encoding="utf-8"))
        assert "$" not in path.read_text(encoding="utf-8")
    scan = scan_folder(tmp_path / "containers")
    assert [found.name for found in scan.containers] == ["MyModel"]
    assert 'CONTAINERS = Path(__file__).parent / "../containers"' in written[1].read_text()
    assert 'run(\n        "MyModel",' in written[1].read_text()


def test_the_test_finds_containers_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way from the test to a folder of another name is written into the test."""
    monkeypatch.chdir(tmp_path)
    test = new_container("Mine", Path("src/experiments"), Path("tests"))[1]
    assert '"../src/experiments"' in test.read_text()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Mine", "mine"),
        ("HelloLesion", "hello_lesion"),
        ("MRIClassifier", "mri_classifier"),
        ("UNet3DModel", "u_net3d_model"),
        ("VGG16Features", "vgg16_features"),
        ("already_snake", "already_snake"),
    ],
)
def test_files_have_the_name_in_snake_case(tmp_path: Path, name: str, file: str) -> None:
    """The words of a name, as people write them, are joined by underscores."""
    assert new_container(name, tmp_path / "c", tmp_path / "t")[0].name == f"{file}.py"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("my-model", "MyModel"),
        ("my model 2", "MyModel2"),
        ("3d_unet", "My3dUnet"),
        ("class", "Class"),
        ("None", "MyNone"),
        ("_Mine", "Mine"),
        ("../Mine", "Mine"),
        ("", "MyContainer"),
        ("!", "MyContainer"),
    ],
)
def test_names_that_no_container_can_have_are_refused(tmp_path: Path, name: str, suggestion: str) -> None:
    """A name that is no identifier is refused with one that is, and that one is accepted."""
    with pytest.raises(UsageError, match=f"cannot be the name of a container; '{suggestion}' can"):
        new_container(name, tmp_path / "c", tmp_path / "t")
    assert files_below(tmp_path) == []
    new_container(suggestion, tmp_path / "c", tmp_path / "t")


@pytest.mark.parametrize("name", ["Network", "LightningContainer", "Path", "run"])
def test_names_that_the_files_use_are_refused(tmp_path: Path, name: str) -> None:
    """A container cannot be called like something else in its own file or test."""
    with pytest.raises(UsageError, match="needs for something else"):
        new_container(name, tmp_path / "c", tmp_path / "t")
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("existing", ["c/mine.py", "t/test_mine.py"])
def test_no_file_is_ever_overwritten(tmp_path: Path, existing: str) -> None:
    """When either file exists, neither is written."""
    path = tmp_path / existing
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(UsageError, match=f"{path.name} exists already and is left as it is"):
        new_container("Mine", tmp_path / "c", tmp_path / "t")
    assert path.read_text() == "precious"
    assert files_below(tmp_path) == [existing]


def test_a_name_can_be_given_only_once(tmp_path: Path) -> None:
    """A container of the name in another file is named: two of them could not be told apart."""
    (tmp_path / "other.py").write_text("from runner import LightningContainer\nclass Mine(LightningContainer): pass\n")
    with pytest.raises(UsageError, match=r"There is a container Mine already: .*other\.py:2"):
        new_container("Mine", tmp_path, tmp_path / "t")
    assert files_below(tmp_path) == ["other.py"]


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    """A file where the folder should be is a usage error."""
    (tmp_path / "c").write_text("")
    with pytest.raises(UsageError, match=r"Cannot write .*mine\.py: "):
        new_container("Mine", tmp_path / "c", tmp_path / "t")
