"""A number and its company: metrics, chance and trivial scores, intervals, protocol cards, tables. No torch in here."""

from vcwork.base.doors import door

_WHERE = {
    "Card": "card",
    "bootstrap_by_video": "intervals",
    "paired_bootstrap": "intervals",
    "paired_randomisation": "intervals",
    "Result": "result",
    "mean_result": "result",
    "results_table": "result",
    "show": "result",
    "text_table": "result",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
