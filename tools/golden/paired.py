"""Golden values of paired comparisons, regressions and paired bootstraps, from SciPy and NumPy.

    venv/bin/python paired.py > paired.json
"""

import json
import sys

import numpy
import scipy
from scipy import stats

rng = numpy.random.default_rng(5)


def pairs(n, digits=None, shift=0.02):
    a = rng.normal(0.8, 0.05, n)
    b = a - rng.normal(shift, 0.05, n)
    return (a, b) if digits is None else (numpy.round(a, digits), numpy.round(b, digits))


def compare(name, a, b):
    d = a - b
    test = stats.wilcoxon(a, b)  # zero_method="wilcox", correction=False, method="auto"
    walsh = [(d[i] + d[j]) / 2 for i in range(len(d)) for j in range(i, len(d))]
    nonzero = d[d != 0]
    ranks = stats.rankdata(abs(nonzero))
    biserial = (ranks * numpy.sign(nonzero)).sum() / ranks.sum() if len(nonzero) else 0.0
    case = {
        "name": name, "a": a.tolist(), "b": b.tolist(),
        "statistic": float(test.statistic), "p": float(test.pvalue),
        "mean": float(d.mean()), "std": float(d.std(ddof=1)),
        "pseudo_median": float(numpy.median(walsh)), "rank_biserial": float(biserial),
    }
    if d.std() > 0:
        # SciPy draws by another generator, so that the ends agree only as far as the number of resamples makes them.
        interval = stats.bootstrap((d,), numpy.mean, method="percentile", n_resamples=100_000,
                                   rng=numpy.random.default_rng(1)).confidence_interval
        case["low"], case["high"] = float(interval.low), float(interval.high)
    return case


def exact_halves(n):
    """Differences in eighths, so that ties are ties in binary too."""
    b = rng.integers(-3, 4, n) / 8
    return b + rng.integers(-4, 6, n) / 8, b


def auroc(scores, labels):
    ranks = stats.rankdata(scores)
    positive = labels.sum()
    return (ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive))


def difference(name, n, digits, resamples=20_000):
    labels = (numpy.arange(n) % 3 == 0).astype(int)
    a = numpy.round(rng.normal(labels * 1.5, 1), digits)
    b = numpy.round(0.6 * a + rng.normal(labels * 0.3, 0.8), digits)
    normal, anomalous = numpy.flatnonzero(labels == 0), numpy.flatnonzero(labels == 1)
    draws = numpy.random.default_rng(2)
    differences = []
    for _ in range(resamples):
        i = numpy.concatenate([draws.choice(normal, len(normal)), draws.choice(anomalous, len(anomalous))])
        differences.append(auroc(a[i], labels[i]) - auroc(b[i], labels[i]))
    low, high = numpy.quantile(differences, [0.025, 0.975])
    return {
        "name": name, "a": a.tolist(), "b": b.tolist(), "labels": labels.tolist(),
        "difference": float(auroc(a, labels) - auroc(b, labels)), "low": float(low), "high": float(high),
    }


def regression(name, n, k):
    x = rng.uniform(-1, 2, (n, k))
    y = 0.8 + x @ rng.normal(0, 0.1, k) + rng.normal(0, 0.05, n)
    design = numpy.column_stack([numpy.ones(n), x])
    values, residual, _, _ = numpy.linalg.lstsq(design, y)
    degrees = n - k - 1
    errors = numpy.sqrt(residual[0] / degrees * numpy.diag(numpy.linalg.inv(design.T @ design)))
    reach = stats.t.ppf(0.975, degrees)
    return {
        "name": name, "x": x.tolist(), "y": y.tolist(), "values": values.tolist(),
        "standard_errors": errors.tolist(), "low": (values - reach * errors).tolist(),
        "high": (values + reach * errors).tolist(),
        "p": (2 * stats.t.sf(abs(values / errors), degrees)).tolist(),
        "r_squared": float(1 - residual[0] / ((y - y.mean()) ** 2).sum()),
    }


zeros = pairs(9)
zeros[1][[2, 5]] = zeros[0][[2, 5]]
many_zeros = pairs(40)
many_zeros[1][:7] = many_zeros[0][:7]
comparisons = [
    compare("three", *pairs(3)), compare("six", *pairs(6)), compare("thirty", *pairs(30)),
    compare("fifty", *pairs(50)), compare("fifty-one", *pairs(51)), compare("two hundred", *pairs(200)),
    compare("ties", *exact_halves(8)), compare("thirteen with ties", *exact_halves(13)),
    compare("fourteen with ties", *exact_halves(14)), compare("sixty with ties", *exact_halves(60)),
    compare("zeros", *zeros), compare("many zeros", *many_zeros),
    compare("all equal", numpy.full(4, 0.5), numpy.full(4, 0.5)),
    compare("far apart", *pairs(12, shift=0.5)),
]
json.dump({
    "made_with": f"scipy {scipy.__version__}, numpy {numpy.__version__}; see paired.py",
    "comparisons": comparisons,
    "auroc_differences": [difference("distinct", 150, 12), difference("ties", 90, 0)],
    "regressions": [regression("one", 8, 1), regression("three", 13, 3)],
}, sys.stdout, indent=1)
print()
