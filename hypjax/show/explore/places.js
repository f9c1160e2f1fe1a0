// Where points stand: at their true distance from the origin, or that distance drawn apart.

const NEAR = 0.5; // distances between which nearly all points lie once they are drawn apart
const FAR = 3.6;
const NARROW = 1; // a ring whose points hide one another

/**
 * The places of a world as typed arrays.
 * @param {{x: number[], y: number[]}} world places in the disk
 * @returns {{x: Float64Array, y: Float64Array}} places
 */
export function truePlaces(world) {
  return { x: Float64Array.from(world.x), y: Float64Array.from(world.y) };
}

/**
 * Whether nearly all points stand in a narrow ring.
 * @param {{x: Float64Array, y: Float64Array}} places all points
 * @returns {boolean} so it is
 */
export function inRing(places) {
  const [low, high] = range(places);
  return high - low < NARROW;
}

/**
 * What draws distances from the origin apart, in their order: points often stand in a narrow ring [ours].
 * @param {{x: Float64Array, y: Float64Array}} places all points
 * @returns {function(number, number): number[]} the new place of a place
 */
export function stretch(places) {
  const [low, high] = range(places);
  return (px, py) => {
    const radius = Math.hypot(px, py);
    if (radius === 0) return [px, py];
    const away = depth(radius);
    const apart = away < low ? (NEAR * away) / low : NEAR + ((FAR - NEAR) * (away - low)) / Math.max(high - low, 1e-9);
    const share = Math.tanh(Math.min(apart, 3 * FAR) / 2) / radius;
    return [px * share, py * share];
  };
}

/**
 * Dots by certainty: the most certain are largest and full, by the range that the uncertainty has.
 * @param {number[]} uncertainty in [0, 1]
 * @returns {{radius: Float32Array, alpha: Uint16Array}} pixels, and 0 to 256
 */
export function dots(uncertainty) {
  const count = uncertainty.length;
  const sorted = Float64Array.from(uncertainty).sort();
  const low = sorted[Math.floor(0.02 * (count - 1))] || 0;
  const high = sorted[Math.floor(0.98 * (count - 1))] || 0;
  const crowd = Math.min(1.25, Math.max(0.6, Math.sqrt(2500 / Math.max(count, 1))));
  const radius = new Float32Array(count);
  const alpha = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    const shade = high > low ? Math.min(1, Math.max(0, (uncertainty[i] - low) / (high - low))) : 0.5;
    radius[i] = crowd * (4.6 - 2.6 * shade);
    alpha[i] = 240 - 110 * shade;
  }
  return { radius, alpha };
}

/**
 * An order in which no group lies on top of the others, the same each time.
 * @param {number} count of points
 * @returns {Uint32Array} each index once
 */
export function mixed(count) {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  let state = 12345;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 4294967296) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Between which distances from the origin 96 % of the points lie. */
function range({ x, y }) {
  const sorted = Float64Array.from(x, (value, i) => depth(Math.hypot(value, y[i]))).sort();
  return [0.02, 0.98].map((share) => sorted[Math.floor(share * (sorted.length - 1))] ?? 0);
}

/** The distance from the origin of a radius below 1. */
function depth(radius) {
  return 2 * Math.atanh(Math.min(radius, 1 - 1e-12));
}
