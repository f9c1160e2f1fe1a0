// What is indexed, as the page shows it: the disk, the tree, and some words about it.

import { Pictures, ask } from "./api.js";
import { describe, explorer } from "./explorer.js";
import { Tree } from "./tree.js";

const $ = (id) => document.getElementById(id);

/** An index, which is taken anew when it has changed. */
export class Indexed {
  /** @param {function(number)} open a point was chosen, in the disk or in the tree */
  constructor(open) {
    this.open = open;
    this.pictures = new Pictures(() => this.disk.invalidate());
  }

  /** Asks what is indexed now and shows it. */
  async take() {
    this.about = await ask("about");
    this.world = await ask("map");
    this.row = new Map(this.world.paths.map((path, index) => [path, index]));
    tell(this.about);
    offerRisks(this.about);
    notice(...this.about.notices);
    $("where").placeholder = example(this.world.uncertainty);
    this.disk?.end();
    const leave = () => this.look(-1);
    this.disk = explorer($("disk"), this.world, { thumbnail: (i) => this.thumbnail(i), open: this.open, leave });
    const folder = (members, name) => this.lookAtAll(members, name);
    new Tree($("tree"), this.world, this.pictures, { picture: this.open, folder });
  }

  /**
   * Takes the index anew, where it has changed.
   * @returns {Promise<boolean>} whether it has
   */
  async renew() {
    const now = await ask("about").catch(() => this.about);
    const changed = now.changes !== this.about.changes;
    if (changed) await this.take();
    notice(...(changed ? ["The index has changed: map, tree and queue are new."] : []), ...now.notices);
    return changed;
  }

  thumbnail(index) {
    const image = this.pictures.now(this.world.paths[index]);
    return image && { image, left: 0, top: 0, width: image.naturalWidth, height: image.naturalHeight };
  }

  /**
   * Shows a point in the disk, or another place.
   * @param {number} index of the point, −1 for none
   * @param {number[]} neighbors indices, the nearest first
   * @param {?{x: number, y: number}} query place of a picture that is none of the points
   */
  look(index, neighbors = [], query = null) {
    const { disk } = this;
    disk.unlight();
    disk.select(index, neighbors, query);
    const place = disk.focusPlace();
    if (place) disk.bring(place);
    disk.say(index >= 0 ? describe(this.world, index) : "");
  }

  /**
   * Shows a picture in the disk.
   * @param {string} path of the picture
   */
  lookAt(path) {
    this.look(this.row.get(path) ?? -1);
  }

  lookAtAll(members, name) {
    const within = new Set(members);
    this.look(-1);
    this.disk.highlight((index) => within.has(index));
    this.disk.say(`${name} · ${members.length} pictures`);
  }

  /**
   * Shows what a search found, all of the disk in sight.
   * @param {{query: object, neighbors: object[]}} answer to it
   * @param {string} path of the picture that asked; undefined for one from elsewhere
   */
  lookAtFound({ query, neighbors }, path) {
    const near = neighbors.map((neighbor) => this.row.get(neighbor.path)).filter((index) => index !== undefined);
    const index = this.row.get(path) ?? -1;
    this.disk.view.fit();
    this.look(index, near, index < 0 && typeof query.x === "number" ? query : null);
  }
}

function tell({ folder, count, run, step, geometry, curvature }) {
  $("folder").textContent = folder;
  document.title = `${folder} – hypjax`;
  const curved = curvature === null ? "" : `, c = ${Number(curvature.toPrecision(3))}`;
  $("about").textContent = `${count.toLocaleString("en")} pictures · ${run}, step ${step} · ${geometry}${curved}`;
}

/** Offers the risks that can be kept to, and says what is proven of the one chosen, or why others are not offered. */
function offerRisks({ calibrated, risks, proven, promises }) {
  const choice = $("risk");
  const chosen = choice.value;
  const unproven = risks.filter((risk) => !proven.includes(risk));
  $("risk-label").hidden = !calibrated;
  choice.replaceChildren(new Option("any", ""));
  for (const risk of calibrated ? risks : []) {
    const option = new Option(`${Math.round(100 * risk)} %`, risk, false, String(risk) === chosen);
    option.disabled = unproven.includes(risk);
    option.title = promises[risk];
    choice.append(option);
  }
  if (choice.selectedOptions[0]?.disabled) choice.value = "";
  choice.onchange = () => {
    $("promise").textContent = promises[choice.value || unproven.at(-1)] ?? "";
    $("promise").hidden = !$("promise").textContent;
  };
  choice.onchange();
}

function notice(...lines) {
  $("notice").textContent = lines.join(" ");
  $("notice").hidden = !lines.length;
}

/** A filter that half of the pictures fulfil. */
function example(uncertainty) {
  const median = [...uncertainty].sort((a, b) => a - b)[uncertainty.length >> 1];
  return `uncertainty <= ${(Math.ceil(100 * median) / 100).toFixed(2)}`;
}
