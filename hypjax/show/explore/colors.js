// Colors of groups: Paul Tol's "muted" scheme, told apart with any color vision, as in the pictures of a run.

const MUTED = ["#332288", "#cc6677", "#117733", "#ddaa33", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499"];
const ON_DARK = ["#8f80ea", "#e08a99", "#4fb374", "#e6c05a", "#99d6f2", "#d0699f", "#5cc9b7", "#c4c45c", "#d482c8"];

/**
 * A color for each of some groups, the largest first in the scheme; where there are more than nine, hues all around.
 * @param {number} count of groups
 * @param {Int32Array|number[]} codes group of each point
 * @param {boolean} dark whether the page is
 * @returns {Uint32Array} 0xbbggrr of each group
 */
export function groupColors(count, codes, dark) {
  const sizes = groupSizes(count, codes);
  const order = Array.from(sizes.keys()).sort((a, b) => sizes[b] - sizes[a]);
  const colors = new Uint32Array(count);
  order.forEach((group, rank) => {
    const scheme = dark ? ON_DARK : MUTED;
    colors[group] = count <= scheme.length ? packed(scheme[rank]) : hue(rank, dark);
  });
  return colors;
}

/**
 * How many points each group has.
 * @param {number} count of groups
 * @param {Int32Array|number[]} codes group of each point
 * @returns {Uint32Array} sizes
 */
export function groupSizes(count, codes) {
  const sizes = new Uint32Array(count);
  for (const code of codes) sizes[code]++;
  return sizes;
}

/**
 * A color as CSS writes it.
 * @param {number} color 0xbbggrr
 * @returns {string} #rrggbb
 */
export function css(color) {
  const parts = [color & 255, (color >> 8) & 255, (color >> 16) & 255];
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/**
 * A color as pixels hold it.
 * @param {string} text #rrggbb
 * @returns {number} 0xbbggrr
 */
export function packed(text) {
  const value = parseInt(text.slice(1), 16);
  return ((value & 255) << 16) | (value & 0xff00) | (value >> 16);
}

/** A hue by the golden angle, so that near ranks differ most; two lightnesses in turn. */
function hue(rank, dark) {
  const angle = (rank * 137.508) % 360;
  const light = (dark ? 0.66 : 0.42) + (rank % 2 ? 0.09 : 0);
  const strength = 0.52 * Math.min(light, 1 - light);
  const part = (offset) => {
    const k = (offset + angle / 30) % 12;
    return Math.round(255 * (light - strength * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return (part(4) << 16) | (part(8) << 8) | part(0);
}
