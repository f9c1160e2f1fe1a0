// Dots painted into pixels by hand: twenty thousand a frame, with or without a graphics card.

const FINE = 4; // steps of a pixel, for places and radii

/** Pixels that dots are painted into, and the canvas that holds them. */
export class Painter {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.masks = [];
  }

  /**
   * Makes room and clears it.
   * @param {number} width in pixels of the device
   * @param {number} height in pixels of the device
   */
  clear(width, height) {
    if (this.canvas.width !== width || this.canvas.height !== height || !this.image) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.context = this.canvas.getContext("2d");
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.pixels.fill(0);
  }

  /**
   * Paints one dot.
   * @param {number} x of its center, in pixels
   * @param {number} y of its center
   * @param {number} radius in pixels
   * @param {number} color 0xbbggrr
   * @param {number} alpha 0 to 256
   */
  dot(x, y, radius, color, alpha) {
    const left = Math.floor(x);
    const top = Math.floor(y);
    const { mask, side, reach } = this.mask(radius, x - left, y - top);
    const { pixels } = this;
    const { width, height } = this.canvas;
    const startX = left - reach;
    const startY = top - reach;
    if (startX < 0 || startY < 0 || startX + side > width || startY + side > height) return;
    const red = color & 0xff00ff;
    const green = color & 0x00ff00;
    for (let row = 0, m = 0; row < side; row++) {
      let p = (startY + row) * width + startX;
      for (let column = 0; column < side; column++, m++, p++) {
        const cover = (mask[m] * alpha) >> 8;
        if (cover === 0) continue;
        const below = pixels[p];
        const under = below >>> 24;
        if (under === 0) {
          pixels[p] = (cover << 24) | color;
          continue;
        }
        const whole = cover + ((under * (256 - cover)) >> 8);
        const share = under === 255 ? cover : ((cover << 8) / whole) | 0;
        const mixedRed = (Math.imul(below & 0xff00ff, 256 - share) + Math.imul(red, share)) >>> 8;
        const mixedGreen = (Math.imul(below & 0x00ff00, 256 - share) + Math.imul(green, share)) >>> 8;
        pixels[p] = (Math.min(whole, 255) << 24) | (mixedRed & 0xff00ff) | (mixedGreen & 0x00ff00);
      }
    }
  }

  /** Shows what was painted: the canvas holds it now. */
  done() {
    this.context.putImageData(this.image, 0, 0);
    return this.canvas;
  }

  /** How much of each pixel a dot covers, 0 to 255, made once for each size and fraction of a pixel. */
  mask(radius, fractionX, fractionY) {
    const size = Math.max(1, Math.round(radius * FINE));
    const shiftX = Math.min(FINE - 1, Math.floor(fractionX * FINE));
    const shiftY = Math.min(FINE - 1, Math.floor(fractionY * FINE));
    const key = (size * FINE + shiftX) * FINE + shiftY;
    this.masks[key] ??= coverage(size / FINE, (shiftX + 0.5) / FINE, (shiftY + 0.5) / FINE);
    return this.masks[key];
  }
}

function coverage(radius, shiftX, shiftY) {
  const reach = Math.ceil(radius + 0.5);
  const side = 2 * reach + 1;
  const mask = new Uint8Array(side * side);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const away = Math.hypot(column + 0.5 - reach - shiftX, row + 0.5 - reach - shiftY);
      mask[row * side + column] = 255 * Math.min(1, Math.max(0, radius + 0.5 - away)) * Math.min(1, 2 * radius);
    }
  }
  return { mask, side, reach };
}
