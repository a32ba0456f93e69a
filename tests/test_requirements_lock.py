"""requirements.lock: the versions of constraints.txt, each with digests of its files."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def pinned(name: str) -> dict[str, str]:
    text = (REPOSITORY / name).read_text()
    return {match[1].lower().replace("_", "-"): match[2] for match in re.finditer(r"(?m)^([\w.-]+)==([\w.+]+)", text)}


def test_it_has_the_same_versions() -> None:
    """Whoever changes one changes both."""
    assert pinned("requirements.lock") == pinned("constraints.txt")


def test_each_has_digests() -> None:
    """Nothing is installed without."""
    text = (REPOSITORY / "requirements.lock").read_text()
    for entry in re.split(r"(?m)^(?=[\w.-]+==)", text)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
