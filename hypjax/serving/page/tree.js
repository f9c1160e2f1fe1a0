// The tree of the levels, down to the pictures; as a screen reader and arrow keys expect one.

import { element } from "./explorer.js";

const MOST = 300; // pictures of a folder that are listed

/** A tree whose branches are made when they are unfolded. */
export class Tree {
  /**
   * @param {HTMLElement} root takes it
   * @param {object} world paths and levels
   * @param {Pictures} pictures of the index
   * @param {{picture: function(number), folder: function(number[], string)}} told what was chosen
   */
  constructor(root, world, pictures, told) {
    Object.assign(this, { world, pictures, told });
    this.list = element("ul", { role: "tree", "aria-label": "Pictures by group", className: "tree" });
    const everything = this.branches(world.paths.map((_, i) => i), world.levels.length - 1, "");
    for (const node of everything) this.list.append(this.item(node, 1));
    this.list.firstElementChild?.setAttribute("tabindex", "0");
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => this.click(event));
    const button = (words, act) => {
      const made = element("button", { type: "button" }, words);
      made.addEventListener("click", act);
      return made;
    };
    const bar = element("div", { className: "bar-row" }, button("Unfold all", () => this.all(true)),
      button("Fold all", () => this.all(false)));
    root.replaceChildren(bar, this.list);
  }

  /** Groups some points by a level; below the finest come the pictures. */
  branches(members, level, above) {
    if (level < 0) return members.slice(0, MOST).map((index) => ({ index, name: last(this.world.paths[index]) }));
    const { names, codes } = this.world.levels[level];
    const groups = new Map();
    for (const index of members) {
      if (!groups.has(codes[index])) groups.set(codes[index], []);
      groups.get(codes[index]).push(index);
    }
    const named = [...groups].map(([code, within]) => ({ whole: names[code], within }));
    named.sort((a, b) => a.whole.localeCompare(b.whole));
    return named.map(({ whole, within }) => {
      const name = above && whole.startsWith(`${above}/`) ? whole.slice(above.length + 1) : whole;
      return { name, whole, within, level: level - 1 };
    });
  }

  item(node, depth) {
    const made = element("li", { role: "treeitem", tabIndex: -1, "aria-level": depth });
    made.node = node;
    const row = element("span", { className: "row" });
    row.style.paddingLeft = `${(depth - 1) * 1.1}rem`;
    if (node.within) {
      made.setAttribute("aria-expanded", "false");
      row.append(element("span", { className: "fold", "aria-hidden": "true" }), element("span", {}, node.name),
        element("span", { className: "muted count" }, String(node.within.length)));
    } else {
      const image = element("img", { alt: "" });
      this.pictures.show(image, this.world.paths[node.index]);
      row.append(image, element("span", {}, node.name));
    }
    made.append(row);
    return made;
  }

  unfold(item, open) {
    if (!item.node.within || (item.getAttribute("aria-expanded") === "true") === open) return;
    item.setAttribute("aria-expanded", String(open));
    item.querySelector(":scope > ul")?.remove();
    if (!open) return;
    const depth = Number(item.getAttribute("aria-level")) + 1;
    const children = this.branches(item.node.within, item.node.level, item.node.whole);
    const list = element("ul", { role: "group" }, ...children.map((node) => this.item(node, depth)));
    const more = item.node.level < 0 ? item.node.within.length - children.length : 0;
    if (more > 0) list.append(element("li", { role: "none", className: "muted more" }, `and ${more} more`));
    item.append(list);
  }

  /** Unfolds all groups, or folds them; pictures stay folded in the finest ones. */
  all(open) {
    const walk = (list) => {
      for (const item of list.children) {
        if (!item.node?.within || (open && item.node.level < 0)) continue;
        this.unfold(item, open);
        if (open) walk(item.querySelector(":scope > ul"));
      }
    };
    walk(this.list);
    if (!open) this.focus(this.list.firstElementChild, false);
  }

  click(event) {
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    this.focus(item);
    this.unfold(item, item.getAttribute("aria-expanded") !== "true");
    this.choose(item);
  }

  choose({ node }) {
    if (node.within) this.told.folder(node.within, node.whole);
    else this.told.picture(node.index);
  }

  focus(item, really = true) {
    if (!item) return;
    this.list.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
    item.setAttribute("tabindex", "0");
    if (really) item.focus();
  }

  key(event) {
    const item = event.target.closest("[role=treeitem]");
    if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
    const shown = [...this.list.querySelectorAll("[role=treeitem]")];
    const at = shown.indexOf(item);
    const open = item.getAttribute("aria-expanded");
    const keys = {
      ArrowDown: () => this.focus(shown[at + 1]),
      ArrowUp: () => this.focus(shown[at - 1]),
      ArrowRight: () => (open === "false" ? this.unfold(item, true) : open && this.focus(shown[at + 1])),
      ArrowLeft: () => {
        if (open === "true") this.unfold(item, false);
        else this.focus(item.parentElement.closest("[role=treeitem]"));
      },
      Home: () => this.focus(shown[0]),
      End: () => this.focus(shown.at(-1)),
      Enter: () => this.choose(item),
      " ": () => this.choose(item),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }
}

function last(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}
