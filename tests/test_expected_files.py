"""Comparison with expected files: what differs is named, what may differ is accepted."""

from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.expected_files import compare_with_expected


def differences(tmp_path: Path, name: str, expected: bytes, actual: bytes, tolerance: float = 0.0) -> list[str]:
    """Compare one file with the given contents in both folders."""
    for folder, content in (("expected", expected), ("actual", actual)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_bytes(content)
    return compare_with_expected(tmp_path / "expected", tmp_path / "actual", tolerance)


@pytest.mark.parametrize(
    ("name", "expected", "actual", "tolerance"),
    [
        ("a.csv", "epoch,loss\n1,0.5\n", "epoch,loss\r\n1,0.5004\r\n\r\n", 1e-3),
        ("a.csv", "epoch,loss\n1,0.5\n", '"epoch",loss\n1.0,5e-1\n', 0.0),
        ("a.csv", "name,loss\nx,nan\ny,-inf\n", "name,loss\nx,nan\ny,-inf\n", 0.0),
        ("a.csv", "é,b\n1,2\n", "\ufeffé,b\n1,2\n", 0.0),
        ("a.json", '{"a": [1, {"b": 0.1}], "c": null}', '{"c":null,\n"a":[1.0, {"b": 0.10001}]}', 1e-3),
        ("a.json", '{"a": NaN, "b": {}, "c": []}', '{"a": NaN, "b": {}, "c": []}', 0.0),
        ("a.csv", "", "\n", 0.0),
        ("a.txt", "one\ntwo\n", "one\r\ntwo", 0.0),
        ("a.MD", "one\ntwo\n", "one\rtwo\n", 0.0),
    ],
)
def test_equal_values_need_not_be_equal_bytes(
    tmp_path: Path, name: str, expected: str, actual: str, tolerance: float
) -> None:
    """Notation, order of keys, line ends and small differences of numbers do not matter."""
    assert differences(tmp_path, name, expected.encode(), actual.encode(), tolerance) == []


@pytest.mark.parametrize(
    ("name", "expected", "actual", "difference"),
    [
        (
            "a.csv",
            "epoch,loss\n1,0.5\n2,0.4\n",
            "epoch,loss\n1,0.5\n2,0.41\n",
            "row 3, column loss: '0.41', expected '0.4'",
        ),
        ("a.csv", "a,b\n1,2\n", "a,c\n1,2\n", "header a,c, expected a,b"),
        ("a.csv", "a\n1\n", "a\n1\n2\n", "3 rows, expected 2"),
        ("a.csv", "a\n1\n", "", "0 rows, expected 2"),
        ("a.csv", "a,b\n1,2\n", "a,b\n1\n", "row 2: 1 columns, expected 2"),
        ("a.csv", "a\nx\n", "a\ny\n", "row 2, column a: 'y', expected 'x'"),
        ("a.csv", "a\n1\n", 'a\n" "\n', "row 2, column a: ' ', expected '1'"),
        ("a.csv", "a\n0.5\n", "a\nnan\n", "row 2, column a: 'nan', expected '0.5'"),
        ("a.csv", "a\ninf\n", "a\n1\n", "row 2, column a: '1', expected 'inf'"),
        ("a.csv", "id\n9007199254740993\n", "id\n9007199254740992\n", "row 2, column id: '9007199254740992', "),
        ("a.csv", "id\n1_0\n", "id\n10\n", "row 2, column id: '10', expected '1_0'"),
        ("a.csv", f"a\n1{'0' * 400}\n", "a\n1.5\n", "row 2, column a: '1.5', expected '1000"),
        ("a.csv", "a\n1\n", 'a\n"1\n', "the actual file is no CSV: "),
        ("a.json", '{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3]}}', "a.b[1]: 3, expected 2"),
        ("a.json", '{"a": 1, "b": 2}', '{"a": 1}', "b: no such value, expected 2"),
        ("a.json", '{"a": 1}', '{"a": 1, "b": null}', "b: None, expected no such value"),
        ("a.json", '{"a": [1]}', '{"a": [1, 2]}', "a[1]: 2, expected no such value"),
        ("a.json", '{"a": {"b": 1}}', '{"a.b": 1}', "a.b: no such value, expected 1"),
        ("a.json", "true", "1", "value: 1, expected True"),
        ("a.json", '["1"]', "[1]", "[0]: 1, expected '1'"),
        ("a.json", "{}", "{", "the actual file is no JSON: "),
        ("a.json", "", "{}", "the expected file is no JSON: "),
        ("a.txt", "one\ntwo\n", "one\nTwo\n", "line 2: 'Two', expected 'two'"),
        ("a.html", "one\n", "one\n\n", "line 2: '', expected the end"),
        ("a.yaml", "one\ntwo\n", "one\n", "ends before line 2, expected 'two'"),
        ("a.bin", "one\n", "one\r\n", "5 bytes, expected 4"),
        ("a", "one", "two", "same size, other bytes"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, name: str, expected: str, actual: str, difference: str) -> None:
    """The message has the file, the place in it, what is there and what should be."""
    [message] = differences(tmp_path, name, expected.encode(), actual.encode())
    assert message.startswith(f"Contents mismatch: {name}: {difference}")


def test_the_tolerance_is_relative_to_the_expected_number(tmp_path: Path) -> None:
    """A hundredth of the expected number is too much for a tolerance of a thousandth, at any size."""
    for scale in (1e-20, 1.0, 1e20):
        expected, actual = f"a\n{scale}\n".encode(), f"a\n{scale * 1.01}\n".encode()
        assert differences(tmp_path, "a.csv", expected, actual, tolerance=0.001)
        assert not differences(tmp_path, "a.csv", expected, actual, tolerance=0.02)


def test_bytes_that_are_no_text_are_a_difference_and_no_crash(tmp_path: Path) -> None:
    """Files in other encodings are compared too, or reported."""
    assert differences(tmp_path, "a.txt", b"\xe9", b"\xe9") == []
    assert differences(tmp_path, "a.txt", b"\xe9", b"\xe8") == [
        "Contents mismatch: a.txt: line 1: '\\udce8', expected '\\udce9'"
    ]
    [message] = differences(tmp_path, "b.csv", b"a\n1\n", b"\xe9\n1\n")[1:]
    assert message.startswith("Contents mismatch: b.csv: the actual file is no CSV: 'utf-8' codec")


def test_every_expected_file_must_exist_and_extra_files_do_not_matter(tmp_path: Path) -> None:
    """Files that lack, at any depth, are listed in order; those that nobody expects are not."""
    (tmp_path / "expected" / "sub").mkdir(parents=True)
    (tmp_path / "actual" / "a.txt").mkdir(parents=True)
    for name in ("sub/b.csv", "a.txt"):
        (tmp_path / "expected" / name).write_text("x")
    (tmp_path / "actual" / "extra.txt").write_text("x")
    found = compare_with_expected(tmp_path / "expected", tmp_path / "actual", 0.0)
    assert found == ["Missing: a.txt", "Missing: sub/b.csv"]


def test_the_layout_of_inner_eye_is_accepted(tmp_path: Path) -> None:
    """Where there is a folder OUTPUT, the run is compared with that; its neighbours are about the cloud."""
    for name in ("expected/OUTPUT/a.txt", "expected/AZUREML_OUTPUT/b.txt", "actual/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert compare_with_expected(tmp_path / "expected", tmp_path / "actual", 0.0) == []


def test_nothing_to_compare_with_is_an_error(tmp_path: Path) -> None:
    """A regression test that would compare nothing does not pass."""
    with pytest.raises(UsageError, match="does not exist"):
        compare_with_expected(tmp_path / "nowhere", tmp_path, 0.0)
    (tmp_path / "OUTPUT" / "empty").mkdir(parents=True)
    with pytest.raises(UsageError, match="is empty"):
        compare_with_expected(tmp_path, tmp_path, 0.0)
