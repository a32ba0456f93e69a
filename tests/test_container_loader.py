"""From a name to a class: what is found, what is imported, and what the errors say."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.container_loader import find_container, scan_folder
from runner.errors import ContainerNotFoundError, UserCodeError

GOOD = '''from runner import LightningContainer

class {name}(LightningContainer):
    """{name} for a test."""
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project as the working directory, with sys.path and sys.modules restored afterwards."""
    (tmp_path / "containers").mkdir()
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if not name.startswith(("runner", "torch", "pytorch_lightning")):
            del sys.modules[name]


def write(folder: Path, file: str, text: str) -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_container_is_found_by_its_name(project: Path) -> None:
    """The name alone is enough, whatever the file is called, also in a subfolder."""
    write(project, "containers/deep/any_file.py", GOOD.format(name="Mine"))
    cls = find_container("Mine", project / "containers")
    assert cls.__name__ == "Mine"
    assert cls.__module__ == "containers.deep.any_file"


def test_scanning_imports_nothing(project: Path) -> None:
    """Listing reads the source: a file that would raise when imported does no harm."""
    write(project, "containers/loud.py", GOOD.format(name="Loud") + "raise SystemExit(0)\n")
    found = scan_folder(project / "containers").containers
    assert [(each.name, each.line, each.summary) for each in found] == [("Loud", 3, "Loud for a test.")]


def test_containers_are_known_through_their_bases(project: Path) -> None:
    """A container may inherit from another one in another file; other classes are not listed."""
    write(project, "containers/base.py", GOOD.format(name="Base"))
    write(
        project, "containers/child.py", "from .base import Base\nclass Child(Base):\n    pass\nclass Other:\n    pass\n"
    )
    scan = scan_folder(project / "containers")
    assert [each.name for each in scan.containers] == ["Base", "Child"]
    assert find_container("Child", project / "containers").__mro__[1].__name__ == "Base"


def test_an_unknown_name_lists_the_nearest(project: Path) -> None:
    """The error names what was asked, where was searched, and what is alike."""
    write(project, "containers/a.py", GOOD.format(name="MyModel"))
    with pytest.raises(
        ContainerNotFoundError, match=r"no container 'MyModl' below .*containers. Did you mean MyModel\?"
    ):
        find_container("MyModl", project / "containers")


def test_two_of_one_name_are_both_shown(project: Path) -> None:
    """Nothing is guessed when two files define the name; the path form chooses."""
    write(project, "containers/a.py", GOOD.format(name="Twin"))
    write(project, "containers/b.py", GOOD.format(name="Twin"))
    with pytest.raises(ContainerNotFoundError, match=r"containers/a.py:3, containers/b.py:3.*path/file.py:Twin"):
        find_container("Twin", project / "containers")
    assert find_container("containers/b.py:Twin", project / "containers").__module__ == "containers.b"


def test_an_import_error_is_shown_only_for_the_container_asked_for(project: Path) -> None:
    """A broken neighbour does no harm; a broken container fails with its own exception as the cause."""
    write(project, "containers/broken.py", "import does_not_exist\n" + GOOD.format(name="Broken"))
    write(project, "containers/good.py", GOOD.format(name="Good"))
    assert find_container("Good", project / "containers").__name__ == "Good"
    with pytest.raises(UserCodeError, match=r"Importing containers/broken.py failed") as caught:
        find_container("Broken", project / "containers")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_syntax_error_is_shown_where_it_is(project: Path) -> None:
    """A file that is no Python is imported when it names the class asked for, so that its error is seen."""
    write(project, "containers/torn.py", GOOD.format(name="Torn") + "def (\n")
    with pytest.raises(UserCodeError) as caught:
        find_container("Torn", project / "containers")
    assert isinstance(caught.value.__cause__, SyntaxError)
    assert "torn.py" in next(iter(scan_folder(project / "containers").unreadable)).name


def test_a_module_that_exits_is_an_error(project: Path) -> None:
    """sys.exit(0) while a container is imported must not look like success."""
    write(project, "containers/quits.py", "import sys\nsys.exit(0)\n" + GOOD.format(name="Quits"))
    with pytest.raises(UserCodeError):
        find_container("Quits", project / "containers")


def test_a_dotted_name_and_a_namespace(project: Path) -> None:
    """pkg.module.Name, pkg.Name and a namespace all find the class under its full module name."""
    write(project, "pkg/sub/models.py", GOOD.format(name="Far"))
    for model, namespace in [("pkg.sub.models.Far", None), ("pkg.sub.Far", None), ("Far", "pkg.sub"), ("Far", "pkg")]:
        assert find_container(model, project / "containers", namespace).__module__ == "pkg.sub.models"


def test_a_namespace_wins_over_the_folder(project: Path) -> None:
    """A class of the same name in the containers folder does not get in the way of a namespace."""
    write(project, "containers/a.py", GOOD.format(name="Same"))
    write(project, "pkg/models.py", GOOD.format(name="Same"))
    assert find_container("Same", project / "containers", "pkg").__module__ == "pkg.models"


def test_a_package_that_is_not_there(project: Path) -> None:
    """A mistyped package is said to be missing; an import error inside a package is shown as such."""
    with pytest.raises(ContainerNotFoundError, match=r"no package or module 'nowhere\.models'"):
        find_container("nowhere.models.X", project / "containers")
    write(project, "cracked/__init__.py", "1 / 0\n")
    with pytest.raises(UserCodeError):
        find_container("cracked.models.X", project / "containers")


def test_a_class_that_is_no_container(project: Path) -> None:
    """A class of the right name that is no LightningContainer is refused."""
    write(project, "containers/x.py", "class Plain(dict):\n    pass\n")
    with pytest.raises(ContainerNotFoundError, match="is no LightningContainer"):
        find_container("Plain", project / "containers")


@pytest.mark.parametrize("name", ["../x", "a;b", "/etc/passwd", "os.path", "", "1a"])
def test_names_that_are_no_names(project: Path, name: str) -> None:
    """Paths, code and packages of the standard library are not taken for containers."""
    with pytest.raises(ContainerNotFoundError):
        find_container(name, project / "containers")


def test_a_file_outside_the_folder(project: Path) -> None:
    """A path finds a container anywhere, with plain and relative imports of its neighbours."""
    write(project, "elsewhere/parts.py", "value = 3\n")
    write(project, "elsewhere/one.py", "import parts\nfrom . import parts as same\n" + GOOD.format(name="One"))
    assert find_container("elsewhere/one.py:One", project / "containers").__name__ == "One"
    assert find_container("elsewhere/one.py", project / "containers").__name__ == "One"
    with pytest.raises(ContainerNotFoundError, match="has no container 'Two'; it has One"):
        find_container("elsewhere/one.py:Two", project / "containers")


def test_the_file_wanted_is_the_one_imported(project: Path) -> None:
    """Two projects with files of the same name in one process do not get each other's classes."""
    write(project, "first/containers/m.py", GOOD.format(name="First"))
    write(project, "second/containers/m.py", GOOD.format(name="Second"))
    assert find_container("First", project / "first" / "containers").__name__ == "First"
    assert find_container("Second", project / "second" / "containers").__name__ == "Second"


def test_a_package_in_the_way_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When Python takes the folder's name from elsewhere, both places are in the error."""
    write(project, "site/models/__init__.py", "")
    write(project, "mine/models/a.py", GOOD.format(name="A"))
    monkeypatch.syspath_prepend(str(project / "site"))
    __import__("models")
    with pytest.raises(ContainerNotFoundError, match=r"mine/models/a.py would be imported as models.a.*site/models"):
        find_container("A", project / "mine" / "models")


def test_a_second_name_finds_the_same_class(project: Path) -> None:
    """And bases are understood however they are written."""
    text = "import runner\nfrom typing import Generic, TypeVar\nT = TypeVar('T')\n"
    text += "class Mine(runner.LightningContainer, Generic[T]):\n    pass\n"
    text += "Other = Mine\nclass Third(Mine[int]):\n    pass\n"
    write(project, "containers/a.py", text)
    found = {each.name: each.summary for each in scan_folder(project / "containers").containers}
    assert found == {"Mine": "", "Other": "The same as Mine.", "Third": ""}
    assert find_container("Other", project / "containers") is find_container("Mine", project / "containers")
    assert find_container("Third", project / "containers").__name__ == "Third"


def test_files_and_modules_without_what_was_asked_for(project: Path) -> None:
    """The message says where was looked, in namespaces too."""
    write(project, "pkg/models.py", GOOD.format(name="Far"))
    for name, namespace, message in [
        ("nowhere.py:X", None, "There is no file nowhere.py to take"),
        ("pkg.models.Fra", None, r"There is no container 'Fra' .*models\.py\. Did you mean Far\?"),
        ("Faar", "pkg", r"containers, which does not exist and in pkg\. Did you mean Far\?"),
    ]:
        with pytest.raises(ContainerNotFoundError, match=message):
            find_container(name, project / "nothing" / "containers", namespace)


def test_a_package_that_needs_what_is_missing(project: Path) -> None:
    """Is an error of its code, not a mistyped name."""
    write(project, "needy/__init__.py", "import not_there_at_all\n")
    with pytest.raises(UserCodeError, match=r"Importing needy\.models failed"):
        find_container("needy.models.X", project / "containers")


def test_ctrl_c_while_a_container_is_imported(project: Path) -> None:
    """Comes through."""
    write(project, "containers/a.py", GOOD.format(name="Mine") + "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        find_container("Mine", project / "containers")


def test_folders_that_are_packages(project: Path) -> None:
    """A file in a package has the name that code beside it uses; one in a folder with a dot has its own."""
    for name in ("outer/__init__.py", "outer/inner/__init__.py"):
        write(project, name, "")
    write(project, "outer/inner/one.py", "from outer.inner import __name__ as mine\n" + GOOD.format(name="One"))
    write(project, "v1.2/two.py", GOOD.format(name="Two"))
    assert find_container("outer/inner/one.py:One", project / "containers").__module__ == "outer.inner.one"
    assert find_container("v1.2/two.py:Two", project / "containers").__module__ == "two"
