// Which thumbnails there is room for.

const SMALLEST = 22; // pixels
const MOST = 140;
const CELL = 8;

/**
 * Thumbnails that do not cover one another: those asked for first come first, the others keep their order, so that none
 * flickers while the plane moves.
 * @param {object} scene first, order: indices; x, y: places in the disk; view; picture: of a point, null for none
 * @returns {{index: number, left: number, top: number, side: number}[]} squares on the screen, the first on top
 */
export function layOut({ first, order, x, y, view, picture }) {
  const { width, height } = view;
  const columns = Math.ceil(width / CELL) + 1;
  const taken = new Uint8Array(columns * (Math.ceil(height / CELL) + 1));
  const placed = [];
  const scale = Math.min(1, Math.max(0.62, view.radius / 380));
  const place = (index, large) => {
    const gap = 1 - x[index] * x[index] - y[index] * y[index];
    const side = Math.min(large ? 84 : 72, scale * (large ? 76 : 60) * gap * view.zoom ** 0.7);
    if (!large && side < SMALLEST) return;
    const shown = Math.max(side, large ? 30 : SMALLEST);
    const [centerX, centerY] = view.toScreen(x[index], y[index]);
    const left = centerX - shown / 2;
    const top = centerY - shown / 2;
    if (left < 0 || top < 0 || left + shown > width || top + shown > height) return;
    const cells = [left, top, left + shown, top + shown].map((value) => Math.floor(value / CELL));
    if (occupied(taken, columns, cells) || picture(index) === null) return;
    occupy(taken, columns, cells);
    placed.push({ index, left, top, side: shown });
  };
  first.forEach((index) => place(index, true));
  const leading = new Set(first);
  for (let i = 0; i < order.length && placed.length < MOST; i++) {
    if (!leading.has(order[i])) place(order[i], false);
  }
  return placed;
}

function occupied(taken, columns, [left, top, right, bottom]) {
  for (let row = top; row <= bottom; row++) {
    for (let column = left; column <= right; column++) {
      if (taken[row * columns + column]) return true;
    }
  }
  return false;
}

function occupy(taken, columns, [left, top, right, bottom]) {
  for (let row = top; row <= bottom; row++) taken.fill(1, row * columns + left, row * columns + right + 1);
}
