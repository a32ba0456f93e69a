"""Which process of a run this one is, by the variables of those who start processes."""

from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.places import PHASE_VARIABLE, Place, find_place
from runner.run_folder import RUN_FOLDER_VARIABLE

VARIABLES = (
    PHASE_VARIABLE, RUN_FOLDER_VARIABLE, "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK", "WORLD_SIZE", "SLURM_PROCID",
    "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_JOB_NAME",
)  # fmt: skip

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "4"}
SLURM = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "x"}


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, Place()),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0", "WORLD_SIZE": "2"}, Place()),
        ({"NODE_RANK": "1"}, Place(node_rank=1)),
        ({RUN_FOLDER_VARIABLE: "/run"}, Place()),
        ({RUN_FOLDER_VARIABLE: "/run", "LOCAL_RANK": "1"}, Place(local_rank=1)),
        (
            {RUN_FOLDER_VARIABLE: "/run", PHASE_VARIABLE: "train", "LOCAL_RANK": "1", "NODE_RANK": "2"},
            Place(1, 2, joined=Path("/run"), phase="train"),
        ),
        (TORCHRUN, Place(1, 1, 3, 4)),
        (TORCHRUN | {"NODE_RANK": "1", "RANK": "0", "LOCAL_RANK": "0"}, Place(0, 1, 0, 4)),
        (TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, Place()),
        (SLURM, Place(1, 1, 3, 4)),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}, Place()),
        (SLURM | {"SLURM_JOB_NAME": "interactive"}, Place()),
    ],
)
def test_who_started_it_says_where_it_is(
    variables: dict[str, str], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of Lightning's own, of torchrun, or of Slurm; a job of one task is no distributed run."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_place() == place


@pytest.mark.parametrize("value", ["one", "-1", "1.0", "²"])
def test_what_is_no_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, or each machine would take itself for the first."""
    monkeypatch.setenv("NODE_RANK", value)
    with pytest.raises(UsageError, match=r"NODE_RANK=.*must be a whole number"):
        find_place()


def test_the_first_is_one() -> None:
    """Among 2 machines with 2 processes, however they were started."""
    by_hand = [Place(local, node) for node in range(2) for local in range(2)]
    outside = [Place(local, node, 2 * node + local, 4) for node in range(2) for local in range(2)]
    for places in (by_hand, outside):
        assert [each.is_first for each in places] == [True, False, False, False]
        assert [each.rank_among(2) for each in places] == [0, 1, 2, 3]
    assert [each.is_started_outside for each in (by_hand[3], outside[0])] == [False, True]
