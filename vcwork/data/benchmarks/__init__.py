"""Readers of published benchmark annotation files: what a file holds, under the split's full name, with an account.

One file a benchmark (`youcook2`, `msrvtt`, `msrvtt_qa`, `didemo`, `coin`, `crosstask`); each `read_...` returns one
split as a `Benchmark` (`common`). `sources` knows which file of a release is which split, `corpora` makes a corpus and
a feature store of a release, `features` reads what lies beside the annotations, `reading` is strict about csv and JSON.
`spans` and `hirest` (moments, steps) are for audits alone and give lists of their own.
What is an error and what is counted: see `common`.
"""
