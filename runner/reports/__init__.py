"""report.html of a run: one page, made from the run folder alone.

:mod:`record` reads the folder; each of the other modules makes one part of the page from it: :mod:`head`,
:mod:`curves`, :mod:`scores`, :mod:`gallery` (which images it shows: :mod:`chosen_maps`; their pictures:
:mod:`thumbnails`; what all maps say together: :mod:`map_checks`), :mod:`details` with :mod:`log_records`.
:mod:`page` puts them together. Nothing here imports torch.
"""
