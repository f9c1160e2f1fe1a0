"""Oracles: pairs as they are defined and losses over them, an anchor and a reference at a time, in float64."""

from typing import NamedTuple

import numpy as np


class Known(NamedTuple):
    """What `losses.Pairs` says, in NumPy: weights of positives and negatives, and the ranks within classes."""

    positive: np.ndarray
    negative: np.ndarray
    rank: list[int]
    reference_rank: list[int]
    somebody: list[bool]

    def counts(self, i):
        """Indices of an anchor's positives and of its negatives."""
        return np.flatnonzero(self.positive[i] > 0), np.flatnonzero(self.negative[i] > 0)


def pairs(labels, references=None, *, where=None, reference_where=None, ids=None, reference_ids=None):
    own = references is None
    if own:
        references, reference_where = labels, where
        ids = reference_ids = range(len(labels)) if ids is None else ids
    somebody = [y >= 0 and (where is None or bool(where[i])) for i, y in enumerate(labels)]
    known = [y >= 0 and (reference_where is None or bool(reference_where[j])) for j, y in enumerate(references)]
    reference_rank = ranks(references, known)
    rank = ranks(labels, somebody)
    positive, negative = np.zeros((2, len(labels), len(references)))
    for i in range(len(labels)):
        for j in range(len(references)):
            itself = ids is not None and ids[i] == reference_ids[j]
            if somebody[i] and known[j] and not itself:
                (positive if labels[i] == references[j] else negative)[i, j] = 1
        held = [] if own or ids is None else [j for j, one in enumerate(reference_ids) if one == ids[i] and known[j]]
        rank[i] = reference_rank[held[0]] if held else rank[i]
    return Known(positive, negative, rank, reference_rank, somebody)


def ranks(labels, counted):
    return [sum(bool(counted[k]) and labels[k] == labels[j] for k in range(j)) for j in range(len(labels))]


def ratio(terms):
    """The weighted mean of (weight, value), 0 of none."""
    weight = sum(w for w, _ in terms)
    return sum(w * v for w, v in terms) / weight if weight else 0.0


def entailment(angles, known, apertures, margin):
    """Every cone and point in turn: how far out of it a point is that belongs in it, and how near one that does not."""
    outside, too_near = [], []
    for i in range(len(angles)):
        positives, negatives = known.counts(i)
        violation = [max(0.0, angle - aperture) for angle, aperture in zip(angles[i], apertures, strict=True)]
        outside += [(known.positive[i, p], violation[p]) for p in positives]
        too_near += [(known.negative[i, n], margin - violation[n]) for n in negatives if violation[n] < margin]
    return ratio(outside) + ratio(too_near)


def contrastive(d, known, pos_margin, neg_margin):
    """Every pair in turn, each side's sum over the weight of its terms above 0."""
    near, far = [], []
    for i in range(len(d)):
        positives, negatives = known.counts(i)
        near += [(known.positive[i, p], d[i, p] - pos_margin[i]) for p in positives]
        far += [(known.negative[i, n], neg_margin[i] - d[i, n]) for n in negatives]
    return sum(ratio([(w, v) for w, v in side if v > 0]) for side in (near, far))


def triplets(d, known, hinges):
    """Every triplet in turn: Σ w·hinges / Σ w·(hinges above 0)."""
    terms = []
    for i in range(len(d)):
        positives, negatives = known.counts(i)
        for p in positives:
            for n in negatives:
                weight = known.positive[i, p] * known.negative[i, n]
                terms += [(weight, h) for h in hinges(i, d[i, p], d[i, n]) if h > 0]
    return ratio(terms)


def triplet(d, known, alpha):
    return triplets(d, known, lambda i, near, far: [near - far + alpha[i]])


def margin(d, known, alpha, beta):
    return triplets(d, known, lambda i, near, far: [near - beta[i] + alpha[i], beta[i] - far + alpha[i]])


def multi_similarity(s, known, alpha, beta, base):
    """Anchor by anchor; those without pairs of a side add log 1 for it, and all that are somebody are counted."""
    terms = []
    for i in np.flatnonzero(known.somebody):
        positives, negatives = known.counts(i)
        pull = sum(known.positive[i, p] * np.exp(-alpha * (s[i, p] - base)) for p in positives)
        push = sum(known.negative[i, n] * np.exp(beta * (s[i, n] - base)) for n in negatives)
        terms.append((1, np.log(1 + pull) / alpha + np.log(1 + push) / beta))
    return ratio(terms)


def softmax_terms(d, known, tau, against):
    """For each anchor its positives as (weight, −log of the share of p), against what is given for (i, p)."""
    for i in range(len(d)):
        e = np.exp(-d[i] / tau[i])
        yield [(known.positive[i, p], -np.log(e[p] / against(i, p, e))) for p in known.counts(i)[0]]


def nt_xent(d, known, tau):
    def against(i, p, e):
        return e[p] + sum(known.negative[i, n] * e[n] for n in known.counts(i)[1])

    return ratio([term for terms in softmax_terms(d, known, tau, against) for term in terms])


def supcon(d, known, tau):
    def against(i, p, e):
        positives, negatives = known.counts(i)
        return sum(e[a] for a in positives) + sum(known.negative[i, n] * e[n] for n in negatives)

    return ratio([(1, ratio(terms)) for terms in softmax_terms(d, known, tau, against) if terms])


def pairwise_cross_entropy(d, known, tau):
    """The definition by ranks: one image of every other class at the rank of the positive, and one at the anchor's."""

    def against(i, p, e):
        at = known.rank[i], known.reference_rank[p]
        opponents = [n for n in known.counts(i)[1] if known.reference_rank[n] in at]
        return e[p] + sum(known.negative[i, n] * e[n] for n in opponents)

    return ratio([term for terms in softmax_terms(d, known, tau, against) for term in terms])


def class_major_cross_entropy(d, labels, tau, m, positive=None, negative=None):
    """The authors' batch of K different classes, m images each: a row of logits for every pair of samples."""
    positive, negative = (np.ones(d.shape) if w is None else w for w in (positive, negative))
    classes, terms = len(labels) // m, []
    for k in range(classes):
        for a in range(m):
            for b in range(m):
                if a == b:
                    continue
                anchor, target = k * m + a, k * m + b
                others = [other * m + at for other in range(classes) if other != k for at in (b, a)]
                logits = -d[anchor, [target, *others]] / tau[anchor]
                each = np.append(1, negative[anchor, others])
                terms.append((positive[anchor, target], np.log((each * np.exp(logits)).sum()) - logits[0]))
    return ratio(terms)


def failure_cross_entropy(doubt, d, known, prior=None, level=None):
    terms = []
    for i in range(len(d)):
        positives, negatives = known.counts(i)
        if len(positives) and len(negatives):
            target = float(min(d[i, negatives]) < min(d[i, positives]))
            target = target if prior is None else (target + prior[i]) / 2
            target = target if level is None else max(target, level[i])
            terms.append((1, -target * np.log(doubt[i]) - (1 - target) * np.log(1 - doubt[i])))
    return ratio(terms)
