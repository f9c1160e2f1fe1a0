// The Poincaré disk of curvature −1. A point is two numbers x, y with x² + y² < 1, read as z = x + iy; an isometry
// that keeps orientation is z → (αz + β)/(β̄z + ᾱ) with |α|² − |β|² = 1, held as [Re α, Im α, Re β, Im β].

/** The isometry that moves nothing. */
export const IDENTITY = Object.freeze([1, 0, 0, 0]);

/**
 * The isometry that takes the origin to a point without turning: z → (z + a)/(āz + 1), the Möbius sum a ⊕ z.
 * @param {number} x of the point
 * @param {number} y of the point
 * @returns {number[]} isometry
 */
export function translation(x, y) {
  const scale = 1 / Math.sqrt(gap(x, y));
  return [scale, 0, x * scale, y * scale];
}

/**
 * One isometry after another. What rounding did to |α|² − |β|² = 1 is mended from β alone: the difference of two
 * large squares would lose what is to be mended.
 * @param {number[]} f done second
 * @param {number[]} g done first
 * @returns {number[]} f ∘ g
 */
export function compose(f, g) {
  const [ar, ai, br, bi] = f;
  const [cr, ci, dr, di] = g;
  const pr = ar * cr - ai * ci + br * dr + bi * di;
  const pi = ar * ci + ai * cr + bi * dr - br * di;
  const qr = ar * dr - ai * di + br * cr + bi * ci;
  const qi = ar * di + ai * dr + bi * cr - br * ci;
  const scale = Math.hypot(1, qr, qi) / Math.hypot(pr, pi);
  return [pr * scale, pi * scale, qr, qi];
}

/**
 * The isometry that undoes another.
 * @param {number[]} f isometry
 * @returns {number[]} isometry
 */
export function inverse([ar, ai, br, bi]) {
  return [ar, -ai, -br, -bi];
}

/**
 * Where an isometry takes a point.
 * @param {number[]} f isometry
 * @param {number} x of the point
 * @param {number} y of the point
 * @returns {number[]} [x, y]
 */
export function apply([ar, ai, br, bi], x, y) {
  const nr = ar * x - ai * y + br;
  const ni = ar * y + ai * x + bi;
  const dr = br * x + bi * y + ar;
  const di = br * y - bi * x - ai;
  const size = dr * dr + di * di;
  return [(nr * dr + ni * di) / size, (ni * dr - nr * di) / size];
}

/**
 * Where an isometry takes many points.
 * @param {number[]} f isometry
 * @param {Float64Array} x of the points
 * @param {Float64Array} y of the points
 * @param {Float64Array} outX takes the places
 * @param {Float64Array} outY takes the places
 */
export function applyAll([ar, ai, br, bi], x, y, outX, outY) {
  for (let i = 0; i < x.length; i++) {
    const nr = ar * x[i] - ai * y[i] + br;
    const ni = ar * y[i] + ai * x[i] + bi;
    const dr = br * x[i] + bi * y[i] + ar;
    const di = br * y[i] - bi * x[i] - ai;
    const size = 1 / (dr * dr + di * di);
    outX[i] = (nr * dr + ni * di) * size;
    outY[i] = (ni * dr - nr * di) * size;
  }
}

/**
 * The isometry that takes p to q and does not turn the plane at the origin: z → (z + a)/(āz + 1) with
 * a = (q − p + qp·conj(q − p))/(1 − |pq|²), as in Lamping & Rao's hyperbolic browser (CHI 1995).
 * @param {number} px of the point that is grabbed
 * @param {number} py of it
 * @param {number} qx where it goes
 * @param {number} qy where it goes
 * @returns {number[]} isometry
 */
export function transfer(px, py, qx, qy) {
  const dx = qx - px;
  const dy = qy - py;
  const mx = qx * px - qy * py;
  const my = qx * py + qy * px;
  const size = 1 - (mx * mx + my * my);
  return translation((dx + mx * dx + my * dy) / size, (dy + my * dx - mx * dy) / size);
}

/**
 * The hyperbolic distance, 2 asinh √(|a − b|² / ((1 − |a|²)(1 − |b|²))).
 * @param {number} ax of one point
 * @param {number} ay of it
 * @param {number} bx of the other
 * @param {number} by of it
 * @returns {number} distance
 */
export function distance(ax, ay, bx, by) {
  return 2 * Math.asinh(Math.hypot(ax - bx, ay - by) / Math.sqrt(gap(ax, ay) * gap(bx, by)));
}

/**
 * Points at equal distances on the geodesic between two points, the ends among them.
 * @param {number} ax where it begins
 * @param {number} ay where it begins
 * @param {number} bx where it ends
 * @param {number} by where it ends
 * @param {number} steps how many pieces
 * @returns {number[][]} steps + 1 points [x, y]
 */
export function geodesic(ax, ay, bx, by, steps = 24) {
  const there = translation(ax, ay);
  const [x, y] = apply(inverse(there), bx, by);
  const length = Math.hypot(x, y);
  const whole = Math.atanh(Math.min(length, 1 - 1e-15));
  return Array.from({ length: steps + 1 }, (_, i) => {
    const share = length > 0 ? Math.tanh((whole * i) / steps) / length : 0;
    return apply(there, x * share, y * share);
  });
}

/**
 * The circle around a point at a hyperbolic distance, which is a circle of the plane too.
 * @param {number} x of the point
 * @param {number} y of the point
 * @param {number} distance of the circle
 * @returns {number[]} x and y of the center in the plane, and its radius
 */
export function circle(x, y, distance) {
  const t = Math.tanh(distance / 2);
  const here = gap(x, y);
  const size = 1 - (1 - here) * t * t;
  return [(x * (1 - t * t)) / size, (y * (1 - t * t)) / size, (t * here) / size];
}

/** 1 − |z|², without losing digits near the boundary. */
function gap(x, y) {
  const radius = Math.hypot(x, y);
  return Math.max((1 - radius) * (1 + radius), 1e-15);
}
