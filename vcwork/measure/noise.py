"""How small a published difference may be: intervals and z of shares that come without per-query results.

A paper gives a share and a number of queries and nothing else, so only the binomial spread of *one* test set is known:
clips of a video are taken as independent (too narrow), two systems as tested on different queries (too wide for a
difference), and another training seed is not covered at all. Standard library alone.
"""

import math
from statistics import NormalDist

from vcwork.base.errors import VcworkError

Z95 = NormalDist().inv_cdf(0.975)


def half_width(share: float, n: int) -> float:
    """Half of the 95 % binomial interval (normal approximation) of a share of n queries: 0.227 of 3305 -> 0.0143."""
    _check(share, n)
    return Z95 * math.sqrt(share * (1 - share) / n)


def interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share of n queries; unlike share +- `half_width` it is sound near 0 and 1."""
    _check(share, n)
    z2 = Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def unpaired_z(a: float, b: float, n_a: int, n_b: int | None = None) -> float:
    """z of a - b for two shares of n_a and n_b (None: as many) queries, variances apart; within noise below 1.96."""
    n_b = n_a if n_b is None else n_b
    _check(a, n_a)
    _check(b, n_b)
    spread = math.sqrt(a * (1 - a) / n_a + b * (1 - b) / n_b)
    if not spread:
        return math.copysign(math.inf, a - b) if a != b else 0.0
    return (a - b) / spread


def _check(share: float, n: int) -> None:
    if not 0 <= share <= 1 or n < 1:
        raise VcworkError(f"expected a share from 0 to 1 of at least 1 query, got {share} of {n}")
