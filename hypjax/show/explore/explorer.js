// The disk with what belongs to it: colors and their legend, buttons, and a line that says what is selected.

import { css, groupSizes } from "./colors.js";
import { control } from "./controls.js";
import { Disk } from "./disk.js";

const LEGEND = 9; // groups that are named; the others are one click on a point away

/**
 * Makes an element with properties and children; text is text, whatever is in it.
 * @param {string} tag of the element
 * @param {object} properties of it; aria-… and data-… become attributes
 * @param {...(Node|string)} children to go into it
 * @returns {HTMLElement} element
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/**
 * Puts a disk into an element.
 * @param {HTMLElement} root takes it
 * @param {object} world paths, x, y, uncertainty, levels, how
 * @param {{thumbnail: function(number), open: function(number), leave: function()}} told thumbnail: of a point; open:
 *   one was chosen; leave: the selection is to go
 * @returns {Disk} the disk; `say` puts words into its line, `unlight` lets no group stand out
 */
export function explorer(root, world, { thumbnail, open, leave = () => {} }) {
  const count = world.paths.length.toLocaleString("en");
  const canvas = element("canvas", {
    tabIndex: 0,
    role: "application",
    "aria-label": `Poincaré disk of ${count} pictures`,
    "aria-description":
      "Arrows walk, plus and minus magnify, Home goes back, Tab goes through pictures in the middle, Enter opens one.",
  });
  const status = element("p", { className: "disk-status", role: "status", "aria-live": "polite" });
  const legend = element("div", { className: "disk-legend", role: "group", "aria-label": "Groups" });
  const bar = element("div", { className: "disk-bar" });
  const stage = element("div", { className: "disk-stage" }, canvas);
  root.classList.add("disk");
  root.replaceChildren(bar, stage, legend, status);
  const disk = new Disk(canvas, world, thumbnail);
  disk.say = (words) => (status.textContent = words);
  disk.unlight = () => light(disk, legend, null);
  bar.append(levelChoice(disk, legend), radiusChoice(disk), buttons(disk));
  control(disk, { open, leave, point: (index) => disk.say(index < 0 ? "" : describe(world, index)) });
  fillLegend(disk, legend);
  return disk;
}

/**
 * The end of a path: folder and file, between which a line may break.
 * @param {string} path of a picture
 * @returns {string} its last two parts
 */
export function ending(path) {
  return path.split("/").slice(-2).join("/\u200b");
}

/**
 * What is known of a point, in words.
 * @param {object} world that it is in
 * @param {number} index of the point
 * @returns {string} words
 */
export function describe(world, index) {
  const path = world.paths[index];
  const groups = world.levels.map((level) => level.names[level.codes[index]]).filter((name) => !path.includes(name));
  return [path, ...new Set(groups), `certainty ${(1 - world.uncertainty[index]).toFixed(2)}`].join(" · ");
}

function levelChoice(disk, legend) {
  const choice = element("select");
  disk.world.levels.forEach((level, i) => choice.append(new Option(level.name, i, false, i === disk.level)));
  choice.addEventListener("change", () => {
    disk.colorBy(Number(choice.value));
    disk.highlight(null);
    fillLegend(disk, legend);
  });
  const label = element("label", {}, "Color ", choice);
  label.hidden = !disk.world.levels.length;
  return label;
}

function radiusChoice(disk) {
  const choice = element("select");
  choice.append(new Option("true", ""), new Option("drawn apart", "apart", false, disk.isApart));
  choice.title = "The distance from the origin as it is, or drawn apart in its order where points hide one another";
  choice.addEventListener("change", () => disk.apart(choice.value === "apart"));
  return element("label", {}, "Radius ", choice);
}

function buttons(disk) {
  const button = (sign, label, act) => {
    const made = element("button", { type: "button", title: label, "aria-label": label }, sign);
    made.addEventListener("click", () => {
      disk.hold();
      act();
      disk.invalidate();
    });
    return made;
  };
  return element(
    "div",
    { className: "disk-buttons", role: "group", "aria-label": "View" },
    button("+", "Magnify", () => disk.view.magnify(1.5)),
    button("−", "Magnify less", () => disk.view.magnify(1 / 1.5)),
    button("⌂", "Back to the origin", () => disk.view.home()),
  );
}

function fillLegend(disk, legend) {
  const level = disk.world.levels[disk.level];
  legend.replaceChildren();
  if (!level) return;
  const sizes = groupSizes(level.names.length, level.codes);
  const order = Array.from(sizes.keys()).sort((a, b) => sizes[b] - sizes[a]);
  for (const code of order.slice(0, LEGEND)) {
    const dot = element("span", { className: "disk-swatch" });
    dot.style.backgroundColor = css(disk.colors[code]);
    const made = element("button", { type: "button", "aria-pressed": "false" }, dot, level.names[code]);
    made.append(element("span", { className: "disk-count" }, String(sizes[code])));
    made.dataset.code = code;
    made.addEventListener("click", () => {
      light(disk, legend, made.getAttribute("aria-pressed") === "true" ? null : code);
    });
    legend.append(made);
  }
  if (order.length > LEGEND) legend.append(element("span", { className: "disk-more" }, `+ ${order.length - LEGEND}`));
  disk.dark.onchange = () => fillLegend(disk, legend);
}

function light(disk, legend, code) {
  for (const made of legend.querySelectorAll("button")) {
    made.setAttribute("aria-pressed", String(code !== null && Number(made.dataset.code) === code));
  }
  disk.highlight(code === null ? null : (i) => disk.codes[i] === code);
}
