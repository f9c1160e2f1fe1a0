// The disk on a page of its own: all that it shows lies in the page.

import { describe, element, ending, explorer } from "./explorer.js";

/** Fills the page from the world that is written into it. */
export function standalone() {
  const world = JSON.parse(document.getElementById("world").textContent);
  const found = element("div", { className: "disk-found" });
  const { thumbnails } = world;
  const sheet = new Image();
  const tile = new Map(thumbnails?.of.map((index, place) => [index, place]));
  const thumbnail = (index) => {
    if (!tile.has(index)) return null;
    if (!sheet.complete || !sheet.naturalWidth) return undefined;
    const { side, columns } = thumbnails;
    const place = tile.get(index);
    const [left, top] = [side * (place % columns) + 0.5, side * Math.floor(place / columns) + 0.5];
    return { image: sheet, left, top, width: side - 1, height: side - 1 };
  };
  const open = (index, moves = true) => {
    const near = world.neighbors?.[index] ?? [];
    disk.select(index, near);
    if (moves) disk.bring(disk.focusPlace());
    disk.say(describe(world, index));
    found.replaceChildren(...near.map((neighbor, rank) => card(neighbor, rank)));
  };
  const card = (index, rank) => {
    const picture = element("canvas", { width: 96, height: 96, "aria-hidden": "true" });
    const drawn = thumbnail(index);
    const pen = picture.getContext("2d");
    if (drawn) pen.drawImage(drawn.image, drawn.left, drawn.top, drawn.width, drawn.height, 0, 0, 96, 96);
    const name = element("span", {}, `${rank + 1}. ${ending(world.paths[index])}`);
    const made = element("button", { type: "button" }, ...(drawn ? [picture] : []), name);
    made.addEventListener("click", () => open(index));
    return made;
  };
  const leave = () => {
    disk.select(-1);
    disk.say("");
    found.replaceChildren();
  };
  const root = document.getElementById("explorer");
  const disk = explorer(root, world, { thumbnail, open, leave });
  root.append(found);
  sheet.addEventListener("load", () => disk.invalidate());
  if (thumbnails) sheet.src = thumbnails.sheet;
}
