"""A brake for the guinea pigs: they stay in training until a test has done what it wants, however slow the machine is.

After the first epoch each step sleeps ``--step_seconds`` or ``--pause`` as long as a file is there. Tiny looks for it
as it sleeps, and goes on at once.
"""

from pathlib import Path


def braked(folder: Path) -> str:
    """Put the brake on and return the argument that tells a run of it."""
    (folder / "brake").touch()
    return f"--brake={folder / 'brake'}"


def release(folder: Path) -> None:
    """Take the brake off: what trains now, or later, does so at full speed."""
    (folder / "brake").unlink()
