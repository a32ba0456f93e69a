"""Containers with a mistake in them."""

import time
from pathlib import Path

import param
from containers.plain import Plain

from runner import LightningContainer


class Clash(LightningContainer):
    """Has a parameter with the name of an option of the program."""

    log_level = param.String(default="mine")


class SlowSetup(Plain):
    """Takes very long to set up."""

    def __init__(self):
        super().__init__()
        self._marker = Path("setting_up").absolute()

    def setup(self):
        self._marker.touch()
        time.sleep(1000)
