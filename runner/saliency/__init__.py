"""Saliency maps of a data set, on xaitk-saliency's own implementations.

From the bottom up: :mod:`occlusion` hides parts of an image, :mod:`scoring` turns scores into maps, :mod:`methods` says
which of xaitk-saliency's classes a ``saliency_method`` stands for, :mod:`low_level` and :mod:`high_level` are two ways
to run them, :mod:`strategies` chooses between these, :mod:`explainer` goes through the batches, :mod:`storage` keeps
the maps and :mod:`pictures` draws them.
"""
