"""Sweeps: many runs of one container, queued, resumed, never run twice.

How it goes: :mod:`command` is what the command line calls. :mod:`request` makes a :mod:`plan` out of what is asked for,
and a :mod:`sweep_folder` keeps it. A :mod:`supervisor` starts :mod:`workers` for the trials that :mod:`queue_state`
names; in its process a trial goes through :mod:`point`. :mod:`queue_commands` changes what lies in the queue.

- What varies: :mod:`space` of :mod:`dimensions` (checked by :mod:`dimension_checks`), read by :mod:`expressions` from
  the command line and by :mod:`sweep_file` and :mod:`axis_nodes` from YAML; :mod:`samplers` and
  :mod:`optuna_samplers` choose points, :mod:`pruners` end trials. :mod:`code_digest` tells whether code has changed.
- What there is: :mod:`trials` are records that :mod:`history` reads from the folder.
- What one sees: :mod:`live` while it runs; :mod:`tables` and :mod:`report` with :mod:`pictures` (:mod:`axes`,
  :mod:`svg`, :mod:`shown`) and :mod:`importance` at the end.
- :mod:`preloaded` is what the warm server imports.
"""
