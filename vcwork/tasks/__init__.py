"""The zero-shot tasks. Each module: pure array functions, and an `evaluate` that returns audited results.

No model, no file and no corpus in here: scores and truth come in as arrays, `measure.result.Result`s go out, each with
chance, trivial scores, an interval over videos and its protocol in words.
"""

from vcwork.base.doors import door

_WHERE = {
    "annotated_clips": "cases",
    "clip_scores": "cases",
    "didemo_cases": "cases",
    "didemo_paragraphs": "cases",
    "didemo_sentences": "cases",
    "localization_cases": "cases",
    "mean_vectors": "cases",
    "moment_cases": "cases",
    "overview": "cases",
    "own_columns": "cases",
    "pair_steps": "cases",
    "places": "cases",
    "prompt_vectors": "cases",
    "published_choices": "cases",
    "seconds_of_split": "cases",
    "setting_of": "cases",
    "step_parts": "cases",
    "videos_of": "cases",
    "kin_share": "clustering",
    "kmeans": "clustering",
    "recall_of_exact": "clustering",
    "summarize": "clustering",
    "best_moments": "moments",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
