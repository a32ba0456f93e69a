"""A container whose module cannot be imported."""

import does_not_exist

from runner import LightningContainer


class Broken(LightningContainer):
    """Cannot be imported."""

    thing = does_not_exist.thing
