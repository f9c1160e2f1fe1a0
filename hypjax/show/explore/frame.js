// What a frame shows beside the dots: the plane, geodesics, thumbnails and marks.

import { circle, geodesic } from "./geometry.js";
import { css } from "./colors.js";
import { layOut } from "./thumbnails.js";

const RINGS = 8;

/**
 * The disk, with rings at distances 1, 2, … from the origin of the plane, where distances are true.
 * @param {Disk} disk whose frame it is
 * @param {CanvasRenderingContext2D} pen in CSS pixels
 */
export function drawPlane({ view, ink, isApart }, pen) {
  const ring = (x, y, radius) => {
    const [left, top] = view.toScreen(x, y);
    pen.beginPath();
    pen.arc(left, top, radius * view.radius * view.zoom, 0, 2 * Math.PI);
  };
  ring(0, 0, 1);
  pen.fillStyle = ink.plane;
  pen.fill();
  pen.strokeStyle = ink.ring;
  pen.lineWidth = 1;
  const [x, y] = view.toView(0, 0);
  for (let far = 1; far <= RINGS && !isApart; far++) {
    ring(...circle(x, y, far));
    pen.stroke();
  }
  ring(0, 0, 1);
  pen.strokeStyle = ink.rim;
  pen.lineWidth = 1.5;
  pen.stroke();
}

/**
 * Geodesics from what is selected to its neighbors.
 * @param {Disk} disk whose frame it is
 * @param {CanvasRenderingContext2D} pen in CSS pixels
 */
export function drawGeodesics(disk, pen) {
  const from = disk.focusPlace();
  if (!from) return;
  pen.strokeStyle = disk.ink.accent;
  disk.neighbors.forEach((index, rank) => {
    pen.globalAlpha = Math.max(0.35, 0.95 - 0.07 * rank);
    pen.lineWidth = rank ? 1.4 : 2.2;
    pen.beginPath();
    for (const place of geodesic(...from, disk.viewX[index], disk.viewY[index])) {
      pen.lineTo(...disk.view.toScreen(...place));
    }
    pen.stroke();
  });
  pen.globalAlpha = 1;
}

/**
 * Thumbnails where there is room, framed in the color of their group.
 * @param {Disk} disk whose frame it is
 * @param {CanvasRenderingContext2D} pen in CSS pixels
 * @returns {{index: number, left: number, top: number, side: number}[]} those that are shown
 */
export function drawThumbnails(disk, pen) {
  const { view, order, viewX: x, viewY: y } = disk;
  const first = [disk.selected, ...disk.neighbors].filter((index) => index >= 0);
  const found = new Map();
  const picture = (index) => {
    if (disk.lit && !disk.lit[index]) return null;
    if (!found.has(index)) found.set(index, disk.thumbnail(index));
    return found.get(index);
  };
  const shown = layOut({ first, order, x, y, view, picture }).filter(({ index }) => found.get(index));
  for (const { index, left, top, side } of shown) {
    const { image, left: sourceX, top: sourceY, width, height } = found.get(index);
    const edge = index === disk.selected ? 3 : 1.5;
    pen.fillStyle = index === disk.selected ? disk.ink.accent : css(disk.colors[disk.codes[index]]);
    pen.fillRect(left - edge, top - edge, side + 2 * edge, side + 2 * edge);
    pen.drawImage(image, sourceX, sourceY, width, height, left, top, side, side);
  }
  return shown;
}

/**
 * Rings around what is selected and what is near it, and the name of what is pointed at.
 * @param {Disk} disk whose frame it is
 * @param {CanvasRenderingContext2D} pen in CSS pixels
 */
export function drawMarks(disk, pen) {
  const around = (place, radius, color, width) => {
    pen.beginPath();
    pen.arc(...disk.view.toScreen(...place), radius, 0, 2 * Math.PI);
    pen.strokeStyle = color;
    pen.lineWidth = width;
    pen.stroke();
  };
  const shown = new Set(disk.thumbnails.map(({ index }) => index));
  const place = (index) => [disk.viewX[index], disk.viewY[index]];
  for (const index of disk.neighbors) if (!shown.has(index)) around(place(index), 7, disk.ink.accent, 1.5);
  const focus = disk.focusPlace();
  if (focus && !shown.has(disk.selected)) {
    around(focus, 9, disk.ink.card, 5);
    around(focus, 9, disk.ink.accent, 3);
  }
  if (disk.pointed < 0) return;
  if (!shown.has(disk.pointed)) around(place(disk.pointed), 8, disk.ink.text, 2);
  drawLabel(disk, pen, place(disk.pointed), disk.world.paths[disk.pointed]);
}

function drawLabel(disk, pen, place, path) {
  const [x, y] = disk.view.toScreen(...place);
  const over = disk.thumbnails.find(({ index }) => index === disk.pointed);
  const reach = over ? over.side / 2 + 6 : 16;
  const text = path.split("/").slice(-2).join("/");
  pen.font = "500 13px system-ui, sans-serif";
  const width = Math.min(pen.measureText(text).width, disk.view.width - 24) + 16;
  const left = Math.min(Math.max(4, x - width / 2), disk.view.width - width - 4);
  const top = y - reach - 24 > 4 ? y - reach - 24 : y + reach;
  pen.fillStyle = disk.ink.text;
  pen.beginPath();
  pen.roundRect(left, top, width, 24, 6);
  pen.fill();
  pen.fillStyle = disk.ink.card;
  pen.textBaseline = "middle";
  pen.fillText(text, left + 8, top + 12.5, width - 16);
}
