"""What is asked of Slurm is checked on any machine, and its script can be read there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.launcher.options import LEAST_MINUTES, minutes_from_text
from tests.faults.programs import Program, start
