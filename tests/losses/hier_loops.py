"""Oracles of HIER: neighborhoods as sets, triplets one at a time, and expectations instead of draws."""

import itertools

import numpy as np


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


def mutual_neighbors(similarity, k):
    """Index sets by the formulas: k largest of each row, the point itself among them, then both ways."""
    n = len(similarity)
    among = [{int(j) for j in np.argsort(-similarity[i], kind="stable")[:k]} for i in range(n)]
    return [[j for j in range(n) if j != i and j in among[i] and i in among[j]] for i in range(n)]


def sets_of_anchors(similarity, k):
    n = len(similarity)
    for i, near in enumerate(mutual_neighbors(similarity, k)):
        far = [j for j in range(n) if j != i and j not in near]
        if len(near) >= 2 and far:
            yield i, near, far


class StraightThrough:
    """The loss of one triplet by loops, whose ordinary derivative is the straight-through one.

    ρ = onehot + s − constant: the first call finds the ancestors and the constants, which later calls keep.
    """

    def __init__(self, noise):
        self.noise, self.chosen = noise, None

    def __call__(self, rows, margin, temperature):
        i, j, k = rows
        pair = [max(a, b) for a, b in zip(i, j, strict=True)]
        both = pair, [max(a, b) for a, b in zip(pair, k, strict=True)]
        soft = [softmax(g - np.array(m) / temperature) for g, m in zip(self.noise, both, strict=True)]
        if self.chosen is None:
            self.chosen, self.constant = [int(np.argmax(s)) for s in soft], soft
        rho = [np.eye(len(i))[c] + s - f for c, s, f in zip(self.chosen, soft, self.constant, strict=True)]
        d = [[float(r @ row) for r in rho] for row in rows]
        hinges = [d[0][0] - d[0][1] + margin, d[1][0] - d[1][1] + margin, d[2][1] - d[2][0] + margin]
        return sum(max(h, 0) for h in hinges) if self.chosen[0] != self.chosen[1] else 0.0


def exact_expectation(distances, similarity, neighbors, margin, temperature):
    """Of one term, over draws and ancestors: probabilities instead of samples, so no sampling error of its own."""
    losses = []
    for i, near, far in sets_of_anchors(similarity, neighbors):
        of_anchor = []
        for j, k in itertools.product(near, far):
            pair = np.maximum(distances[i], distances[j])
            first = softmax(-pair / temperature)
            second = softmax(-np.maximum(pair, distances[k]) / temperature)
            for a, b in itertools.permutations(range(distances.shape[1]), 2):
                hinges = [distances[i, a] - distances[i, b], distances[j, a] - distances[j, b]]
                hinges.append(distances[k, b] - distances[k, a])
                of_anchor.append(first[a] * second[b] * sum(max(h + margin, 0) for h in hinges))
        losses.append(sum(of_anchor) / (len(near) * len(far)))
    return np.mean(losses) if losses else 0.0
