"""``python -m runner``: the same program as ``python runner.py``."""

from runner.cli import console_main

if __name__ == "__main__":
    console_main()
