// What is seen of the plane: an isometry, and a magnifying glass over the disk.

import { IDENTITY, apply, compose, inverse, transfer, translation } from "./geometry.js";

const REACH = 0.985; // the farthest from the middle that the plane can be grabbed
const MOST_ZOOM = 60;
const FARTHEST = 1e5; // sinh of half the distance that one can walk

/** How the plane lies in the disk, and the disk on the screen, in CSS pixels. */
export class View {
  constructor() {
    this.width = this.height = 1;
    this.home();
  }

  /** As it was in the beginning. */
  home() {
    this.isometry = [...IDENTITY];
    this.fit();
  }

  /** The whole disk, no part of it magnified; the plane lies in it as before. */
  fit() {
    this.zoom = 1;
    this.shiftX = this.shiftY = 0;
  }

  /** The radius of the unmagnified disk on the screen. */
  get radius() {
    return Math.max(10, Math.min(this.width, this.height) / 2 - 6);
  }

  /**
   * From the disk to the screen.
   * @param {number} x in the disk
   * @param {number} y in the disk
   * @returns {number[]} pixels from the left and the top
   */
  toScreen(x, y) {
    const scale = this.radius * this.zoom;
    return [this.width / 2 + this.shiftX + scale * x, this.height / 2 + this.shiftY - scale * y];
  }

  /**
   * From the screen to the disk; beyond the boundary a point just within it.
   * @param {number} left pixels
   * @param {number} top pixels
   * @returns {number[]} x, y
   */
  toDisk(left, top) {
    const scale = this.radius * this.zoom;
    const x = (left - this.width / 2 - this.shiftX) / scale;
    const y = (this.height / 2 + this.shiftY - top) / scale;
    const within = Math.min(1, REACH / Math.max(Math.hypot(x, y), 1e-9));
    return [x * within, y * within];
  }

  /**
   * Where a point of the plane is in the disk now.
   * @param {number} x of the plane
   * @param {number} y of the plane
   * @returns {number[]} x, y
   */
  toView(x, y) {
    return apply(this.isometry, x, y);
  }

  /**
   * Moves the plane so that what lies at one place of the disk comes to another.
   * @param {number[]} from x, y in the disk
   * @param {number[]} to x, y in the disk
   * @param {number[]} start isometry that it is moved from; as it is now by default
   */
  drag(from, to, start = this.isometry) {
    this.settle(compose(transfer(from[0], from[1], to[0], to[1]), start));
  }

  /**
   * Walks a hyperbolic distance, the farther the less is magnified.
   * @param {number} dx −1, 0 or 1
   * @param {number} dy −1, 0 or 1
   * @param {number} far distance
   */
  walk(dx, dy, far = 0.3) {
    const step = Math.tanh(far / 2 / this.zoom);
    this.settle(compose(translation(-dx * step, -dy * step), this.isometry));
  }

  /** Takes an isometry, unless it leads so far from the origin that numbers end. */
  settle(isometry) {
    if (Math.hypot(isometry[2], isometry[3]) < FARTHEST) this.isometry = isometry;
  }

  /**
   * A place of the disk comes to the middle, a part of the way along the geodesic.
   * @param {number[]} place x, y in the disk of `start`
   * @param {number[]} start isometry
   * @param {number} share of the way, 0 to 1
   */
  approach([x, y], start, share) {
    const radius = Math.min(Math.hypot(x, y), 1 - 1e-12);
    const step = radius > 0 ? Math.tanh(share * Math.atanh(radius)) / radius : 0;
    this.isometry = compose(inverse(translation(x * step, y * step)), start);
  }

  /**
   * Magnifies around a place of the screen.
   * @param {number} factor by which
   * @param {number} left pixels
   * @param {number} top pixels
   */
  magnify(factor, left = this.width / 2, top = this.height / 2) {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    const share = zoom / this.zoom;
    this.shiftX = share * this.shiftX + (1 - share) * (left - this.width / 2);
    this.shiftY = share * this.shiftY + (1 - share) * (top - this.height / 2);
    this.zoom = zoom;
    const farthest = (zoom - 1) * this.radius;
    const within = Math.min(1, farthest / Math.max(Math.hypot(this.shiftX, this.shiftY), 1e-9));
    this.shiftX *= within;
    this.shiftY *= within;
  }
}
