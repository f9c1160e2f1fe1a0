// The disk that one walks in: state, and a frame of it.

import { applyAll } from "./geometry.js";
import { groupColors } from "./colors.js";
import { drawGeodesics, drawMarks, drawPlane, drawThumbnails } from "./frame.js";
import { Painter } from "./paint.js";
import { dots, inRing, mixed, stretch, truePlaces } from "./places.js";
import { View } from "./view.js";

/** Points of a world on a canvas. */
export class Disk {
  /**
   * @param {HTMLCanvasElement} canvas to draw on; its `disk` is this from now on
   * @param {object} world paths, x, y, uncertainty, levels
   * @param {function(number): ?{image: CanvasImageSource, left: number, top: number, width: number, height: number}}
   *   thumbnail of a point: null where it has none, undefined while it is on its way
   */
  constructor(canvas, world, thumbnail = () => null) {
    Object.assign(this, { canvas, world, thumbnail });
    canvas.disk = this;
    this.context = canvas.getContext("2d");
    this.painter = new Painter();
    this.view = new View();
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.darkens = () => this.recolor();
    this.dark.addEventListener("change", this.darkens);
    this.order = mixed(world.paths.length);
    this.dots = dots(world.uncertainty);
    this.viewX = new Float64Array(world.paths.length);
    this.viewY = new Float64Array(world.paths.length);
    this.level = world.levels.length - 1;
    this.lit = null;
    this.selected = this.pointed = -1;
    this.neighbors = [];
    this.query = null;
    this.thumbnails = [];
    this.frames = 0;
    this.apart(inRing(truePlaces(world)));
    this.recolor();
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(canvas);
    this.resize();
  }

  /** Takes the size that the canvas has on the page. */
  resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width || !height) return;
    this.ratio = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    Object.assign(this.view, { width, height });
    this.draw();
  }

  /**
   * Draws distances from the origin apart, or leaves them as they are.
   * @param {boolean} drawn apart
   */
  apart(drawn) {
    const places = truePlaces(this.world);
    this.isApart = drawn;
    this.move = drawn ? stretch(places) : (x, y) => [x, y];
    if (drawn) places.x.forEach((x, i) => ([places.x[i], places.y[i]] = this.move(x, places.y[i])));
    Object.assign(this, places);
    this.invalidate();
  }

  /** Looks up all colors, after a change of level or of light and dark. */
  recolor() {
    const style = getComputedStyle(this.canvas);
    const color = (name) => style.getPropertyValue(`--disk-${name}`).trim();
    const names = ["plane", "rim", "ring", "accent", "text", "card"];
    this.ink = Object.fromEntries(names.map((name) => [name, color(name)]));
    const level = this.world.levels[this.level];
    this.codes = level ? Int32Array.from(level.codes) : new Int32Array(this.world.paths.length);
    this.colors = groupColors(level ? level.names.length : 1, this.codes, this.dark.matches);
    this.invalidate();
  }

  /**
   * Colors points by a level of the hierarchy.
   * @param {number} level its place in the world's levels
   */
  colorBy(level) {
    this.level = level;
    this.recolor();
  }

  /**
   * Lets some points stand out.
   * @param {?function(number): boolean} which of them; null for none
   */
  highlight(which) {
    this.lit = which && Uint8Array.from(this.viewX, (_, i) => which(i));
    this.invalidate();
  }

  /**
   * Marks a point, and what is near it.
   * @param {number} index of the point, −1 for none
   * @param {number[]} neighbors indices, the nearest first
   * @param {?{x: number, y: number}} query place of a picture that is none of the points
   */
  select(index, neighbors = [], query = null) {
    this.selected = index;
    this.neighbors = neighbors;
    this.query = query && this.move(query.x, query.y);
    this.invalidate();
  }

  /** Where the selection is in the disk, null where nothing is selected. */
  focusPlace() {
    if (this.query) return this.view.toView(...this.query);
    return this.selected < 0 ? null : this.view.toView(this.x[this.selected], this.y[this.selected]);
  }

  /**
   * Brings a place of the disk to the middle, gently where the reader likes motion.
   * @param {number[]} place x, y in the disk as it lies now
   */
  bring(place) {
    const start = this.view.isometry;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const began = performance.now();
    const run = (this.motion = {});
    const step = (now) => {
      if (this.motion !== run) return;
      const share = still ? 1 : Math.min(1, Math.max(0, (now - began) / 450));
      this.view.approach(place, start, 1 - (1 - share) ** 3);
      this.draw();
      if (share < 1) requestAnimationFrame(step);
    };
    step(still ? Infinity : began);
  }

  /** Stops what moves by itself: somebody takes hold. */
  hold() {
    this.motion = null;
  }

  /** Lets go of the page, for another disk in its place. */
  end() {
    this.hold();
    this.sizes.disconnect();
    this.dark.removeEventListener("change", this.darkens);
    this.dark.onchange = null;
  }

  /** Draws before the next frame. */
  invalidate() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  /**
   * The point under a place of the screen.
   * @param {number} left pixels
   * @param {number} top pixels
   * @param {number} reach pixels around it
   * @returns {number} index, −1 for none
   */
  pick(left, top, reach = 12) {
    const over = this.thumbnails.find(
      ({ left: x, top: y, side }) => left >= x && top >= y && left <= x + side && top <= y + side,
    );
    if (over) return over.index;
    let [best, found] = [reach * reach, -1];
    for (let i = 0; i < this.viewX.length; i++) {
      const [x, y] = this.view.toScreen(this.viewX[i], this.viewY[i]);
      const away = (x - left) ** 2 + (y - top) ** 2;
      if (away < best) [best, found] = [away, i];
    }
    return found;
  }

  /**
   * The points nearest to the middle of what is seen.
   * @param {number} count of them
   * @returns {number[]} indices
   */
  central(count) {
    const { view, viewX, viewY } = this;
    const [x, y] = view.toDisk(view.width / 2, view.height / 2);
    const away = Float64Array.from(viewX, (value, i) => (value - x) ** 2 + (viewY[i] - y) ** 2);
    return Array.from(away.keys()).sort((a, b) => away[a] - away[b]).slice(0, count);
  }

  /** Draws a frame. */
  draw() {
    const { context: pen, view, ratio } = this;
    if (!ratio) return;
    applyAll(view.isometry, this.x, this.y, this.viewX, this.viewY);
    this.frames++;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawPlane(this, pen);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(this.paintDots(), 0, 0);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawGeodesics(this, pen);
    this.thumbnails = drawThumbnails(this, pen);
    drawMarks(this, pen);
  }

  paintDots() {
    const { painter, view, ratio, viewX, viewY, codes, colors, lit } = this;
    painter.clear(this.canvas.width, this.canvas.height);
    const scale = view.radius * view.zoom * ratio;
    const middleX = (view.width / 2 + view.shiftX) * ratio;
    const middleY = (view.height / 2 + view.shiftY) * ratio;
    const larger = ratio * Math.min(3, Math.sqrt(view.zoom)) * Math.min(1, Math.max(0.7, view.radius / 330));
    for (const i of this.order) {
      const gap = 1 - viewX[i] * viewX[i] - viewY[i] * viewY[i];
      const radius = this.dots.radius[i] * larger * (0.3 + 0.7 * Math.max(gap, 0));
      const alpha = lit ? (lit[i] ? 256 : 36) : this.dots.alpha[i];
      painter.dot(middleX + scale * viewX[i], middleY - scale * viewY[i], radius, colors[codes[i]], alpha);
    }
    return painter.done();
  }
}
