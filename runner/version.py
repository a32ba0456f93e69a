"""The version of the distribution, where setup.cfg and the program both read it."""

__version__ = "0.1.0"
