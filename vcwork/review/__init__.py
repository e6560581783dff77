"""Does a claim hold? Claims, published numbers, what annotations alone tell, audits of a number."""

from vcwork.base.doors import door

_WHERE = {
    "OrderFromWords": "baselines",
    "TfidfRidge": "baselines",
    "order_columns": "baselines",
    "ABLATIONS": "claims",
    "with_paper": "published",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)
