"""Saliency maps of a data set: xaitk-saliency's, at the cost of the forward passes.

How it goes: :mod:`explainer` goes through the batches that :mod:`data` opens (:mod:`loaded_items` survives corrupt
ones) and asks a strategy, chosen by :mod:`strategies`, for :mod:`raw_maps` of the :mod:`targets`. Each becomes an
:mod:`explanation`, gets its measures by :mod:`checks`, and goes through :mod:`writer` into :mod:`storage`.

- The engine: :mod:`fused` brings the model into its cheapest :mod:`forward_format` and runs the loop of :mod:`engine`
  over :mod:`masks` and :mod:`fills`; :mod:`perturbations` says what a method does with them, :mod:`quality` how good
  a map is. Windows may need only part of a forward pass: :mod:`incremental`, on :mod:`patched` tensors and the boxes
  of :mod:`reach`.
- xaitk-saliency itself: :mod:`reference` runs it by :mod:`low_level` or :mod:`high_level` steps. :mod:`methods` says
  which classes of it a method stands for; :mod:`occlusion`, :mod:`scoring`, :mod:`classifier` are the parts.
- Other models and methods: :mod:`detections`, :mod:`similarity` (both by :mod:`mask_weights`), :mod:`white_box`.
- Measures: :mod:`measures` of the maps alone, :mod:`curves` of deletion and insertion, :mod:`randomization` of the
  model.
- Files: :mod:`storage` spells the names; :mod:`map_files`, :mod:`journal`, :mod:`index_table`, :mod:`failures`,
  :mod:`settings` are what lies in the folder; :mod:`summary` what all images say together, :mod:`index_set` which
  ones there are. Several processes make a :mod:`part` each, with :mod:`part_tables` and :mod:`checked_files`.
- What one sees: :mod:`pictures` in :mod:`colors`, :mod:`progress`. :mod:`direct` is ``runner.explain``.
"""
