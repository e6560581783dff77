"""The zero-shot tasks. Each module: pure array functions, and an `evaluate` that returns audited results.

No model, no file and no corpus in here: scores and truth come in as arrays, `vcwork.audit.Result`s go out, each with
chance, trivial scores, an interval over videos and its protocol in words.
"""
