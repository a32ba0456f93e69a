"""Labels from folders and CSV files, and the mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ParameterError
from runner.images import ImageTable, LabelColumns, read_class_folders, read_labels_file

COLUMNS = LabelColumns()


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def table(folder: Path, text: str, columns: LabelColumns = COLUMNS, **options: list[str]) -> ImageTable:
    (folder / "labels.csv").write_text(text)
    return read_labels_file(folder / "labels.csv", folder, columns, **options)


def problem(folder: Path, text: str, columns: LabelColumns = COLUMNS, **options: list[str]) -> str:
    with pytest.raises(ParameterError) as caught:
        table(folder, text, columns, **options)
    return str(caught.value).replace(str(folder), "FOLDER")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return touch(tmp_path, "a.png", "b.jpg", "scan.nii.gz", "more/c.png")


# --- CSV -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows(folder: Path, separator: str) -> None:
    """Names with and without ending, patients, and any of three separators."""
    text = "image,label,patient\na.png,yes,P1\nb,no,P2\nmore/c,no,\n".replace(",", separator)
    found = table(folder, text)
    assert found.classes == ["no", "yes"]
    assert [image.path.name for image in found.images] == ["a.png", "b.jpg", "c.png"]
    assert [image.label for image in found.images] == [1, 0, 0]
    assert [image.group for image in found.images] == ["P1", "P2", "more/c"]  # nobody's patient is one of its own


def test_excel_and_blanks(folder: Path) -> None:
    """A byte order mark, blanks around fields, quotes, empty lines and Windows' line ends do no harm."""
    found = table(folder, '\ufeffimage, label\r\n"a.png", x\r\n\r\n b ,"y"\r\n')
    assert [(image.name, image.label) for image in found.images] == [("a.png", 0), ("b", 1)]


def test_numbers_are_sorted_as_numbers(folder: Path) -> None:
    """10 comes after 9."""
    assert table(folder, "image,label\na,10\nb,9\n").classes == ["9", "10"]


def test_order_of_classes(folder: Path) -> None:
    """class_names gives it, and its mistakes name the nearest."""
    text = "image,label\na,malignant\nb,normal\n"
    assert table(folder, text, class_names=["normal", "malignant"]).classes == ["normal", "malignant"]
    assert "have no 'malign'. Did you mean malignant?" in problem(folder, text, class_names=["normal", "malign"])
    assert "'normal' is missing" in problem(folder, text, class_names=["malignant"])
    assert "twice" in problem(folder, text, class_names=["normal", "malignant", "normal"])


def test_slices_of_one_volume(folder: Path) -> None:
    """Each slice is an image; the group is the volume."""
    found = table(folder, "image,label,slice\nscan,0,3\nscan,1,4\na,1,\n")
    assert [(image.frame, image.group) for image in found.images] == [(3, "scan"), (4, "scan"), (None, "a")]


def test_rows_that_say_the_same(folder: Path) -> None:
    """Count once."""
    assert len(table(folder, "image,label\na,0\na,0\nb,1\n").images) == 2


def test_two_labels(folder: Path) -> None:
    """Of one image are a mistake, told with both lines."""
    assert (
        problem(folder, "image,label\na,0\nb,1\na,1\n") == "FOLDER/labels.csv: 'a' is '0' in line 2 and '1' in line 4."
    )


def test_one_file_under_several_names(folder: Path) -> None:
    """Is one image, with one label and one patient; the slices of a volume stay together."""
    (folder / "link.png").symlink_to(folder / "a.png")
    found = table(folder, "image,label\na.png,0\na,0\n./a.png,0\nmore/../a,0\nlink,0\nb,1\n")
    assert [image.name for image in found.images] == ["a.png", "b"]
    assert "is '0' in line 2 and '1' in line 3" in problem(folder, "image,label\na.png,0\nlink,1\n")
    patients = "image,label,patient\na.png,0,P1\n./a.png,0,P2\nb,1,P3\n"
    assert "is 'P1' in line 2 and 'P2' in line 3" in problem(folder, patients)
    slices = table(folder, "image,label,slice\nscan,0,3\nscan.nii.gz,1,4\n")
    assert [image.group for image in slices.images] == ["scan", "scan"]


def test_two_files_of_a_name(folder: Path) -> None:
    """Must be told apart by their endings."""
    touch(folder, "b.png")
    assert "line 3: 'b' may be 'b.jpg' or 'b.png': say which" in problem(folder, "image,label\na,0\nb,1\n")


def test_paths_with_dots(folder: Path) -> None:
    """The folder itself may be given by way of another one."""
    folder = folder / "more" / ".."
    assert len(table(folder, f"image,label\na,0\n{folder / 'b'},1\n").images) == 2
    assert len(table(folder / "more" / "..", "image,label\na,0\nmore/c,1\n").images) == 2


def test_long_numbers(folder: Path) -> None:
    """Are classes as any others."""
    assert table(folder, f"image,label\na,{'9' * 5000}\nb,3\n").classes == ["3", "9" * 5000]


def test_missing_column(folder: Path) -> None:
    """The nearest is named, with the parameter to set, and all there are."""
    text = problem(folder, "Image,labels\na,0\n", LabelColumns("image", "label"))
    assert (
        text == "image_column: FOLDER/labels.csv has no column 'image'. Did you mean Image? It has 'Image', 'labels'."
    )
    assert "label_column" in problem(folder, "image,diagnosis\na,0\n")
    assert "group_column" in problem(folder, "image,label\na,0\n", LabelColumns(group="patient"))
    assert "'no first line'" in problem(folder, "") or "no first line" in problem(folder, "")


def test_unknown_files(folder: Path) -> None:
    """They are counted, the first are named with their lines, and the nearest name is offered."""
    text = problem(folder, "image,label\na,0\naa.png,1\nmore/d,1\n")
    assert "names 2 images that are not in FOLDER: 'aa.png' (line 3), 'more/d' (line 4). Did you mean a.png" in text


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "more/../../secret.png", "a\0.png"])
def test_paths_that_lead_out(folder: Path, name: str) -> None:
    """Of the folder are refused, whether the file is there or not."""
    touch(folder.parent, "secret.png")
    assert "leads out of FOLDER" in problem(folder, f"image,label\na,0\n{name},1\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,label\na\n", "line 2: 1 fields, where the first line has 2"),
        ("image,label\na,\n", "line 2: 'label' is empty"),
        ("image,label\n,0\n", "line 2: 'image' is empty"),
        ('image,label\n"a,0\n', "line 2: unexpected end of data"),
        ("image,label,slice\na,0,-1\n", "'-1' is no number of a slice"),
        ("image,label\na,0\nb,0\n", "has 1 class in 'label'"),
        ("image,label\n", "has 0 class"),
        ("image,label\n\x1b[31ma,0\nb,1\n", r"'\x1b[31ma' (line 2)"),
        ("image,label\n" + "x" * 200_000 + ",0\n", "field larger than field limit"),
    ],
)
def test_mistakes(folder: Path, text: str, words: str) -> None:
    """Each is told with file and line."""
    assert words in problem(folder, text)


def test_no_text(folder: Path) -> None:
    """A file that is no text is named as such."""
    (folder / "labels.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParameterError, match="cannot be read as UTF-8 text"):
        read_labels_file(folder / "labels.csv", folder, LabelColumns())


@given(st.text(max_size=200))
def test_any_text_is_a_table_or_a_mistake(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Nothing else is raised, and messages have no control characters."""
    folder = tmp_path_factory.getbasetemp()
    (folder / "labels.csv").write_bytes(("image,label\n" + text).encode("utf-8", "surrogatepass"))
    try:
        read_labels_file(folder / "labels.csv", folder, LabelColumns())
        message = ""
    except ParameterError as error:
        message = str(error)
    assert not message or message.isprintable()


# --- folders -------------------------------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    """Folders are classes; what is no image, or hidden, is left out; folders inside of them are looked into."""
    touch(
        tmp_path, "cat/1.png", "cat/more/2.JPG", "cat/notes.txt", "dog/3.dcm", "dog/.hidden.png", ".git/4.png", "5.png"
    )
    found = read_class_folders(tmp_path)
    assert found.classes == ["cat", "dog"]
    assert [(image.name, image.label) for image in found.images] == [
        ("cat/1.png", 0), ("cat/more/2.JPG", 0), ("dog/3.dcm", 1),
    ]  # fmt: skip


def test_circles_of_links(tmp_path: Path) -> None:
    """Links are followed, but not in circles."""
    touch(tmp_path / "data", "cat/1.png", "dog/2.png")
    touch(tmp_path / "elsewhere", "3.png")
    (tmp_path / "data" / "cat" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "cat" / "self").symlink_to(tmp_path / "data" / "cat")
    (tmp_path / "data" / "dog" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "dog" / "loop.png").symlink_to(tmp_path / "data" / "dog" / "loop.png")
    names = [image.name for image in read_class_folders(tmp_path / "data").images]
    assert "dog/linked/3.png" in names
    assert len(names) < 10


def test_one_file_in_two_classes(tmp_path: Path) -> None:
    """By a link to a file or a folder: a mistake. In one class it counts once."""
    touch(tmp_path, "a/0.png", "b/1.png")
    (tmp_path / "a" / "again.png").symlink_to(tmp_path / "a" / "0.png")
    assert [image.name for image in read_class_folders(tmp_path).images] == ["a/0.png", "b/1.png"]
    (tmp_path / "a" / "other").symlink_to(tmp_path / "b")
    with pytest.raises(ParameterError, match=r"'a/other/1\.png' and 'b/1\.png' are one file in two classes"):
        read_class_folders(tmp_path)


def test_folders_that_link_to_each_other(tmp_path: Path) -> None:
    """Are looked into once; every way through them would take days."""
    for one in range(12):
        touch(tmp_path, f"a/{one}/{one}.png", "b/x.png")
        for other in range(12):
            (tmp_path / "a" / str(one) / f"to{other}").symlink_to(tmp_path / "a" / str(other))
    assert len(read_class_folders(tmp_path).images) == 13


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    """Fewer than two, or an empty one."""
    touch(tmp_path, "cat/1.png")
    with pytest.raises(ParameterError, match="neither a labels file nor a folder for each class"):
        read_class_folders(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(ParameterError, match="dog, the folder of a class, holds no images"):
        read_class_folders(tmp_path)
