// What the model is least sure of, looked through with the keyboard: right, wrong, or renamed.

import { ask, writable } from "./api.js";
import { element } from "./explorer.js";
import { csv, meant, rows, wholeLabel } from "./listing.js";
import { certainty } from "./search.js";

const SIGNS = { right: "✓", wrong: "✗", renamed: "✎" };

/** A queue with marks that the browser keeps. */
export class Queue {
  /**
   * @param {HTMLElement} root takes it
   * @param {{about: object, world: object, pictures: Pictures, look: function(string), failed: function(Error)}} given
   *   what is indexed; look: shows a picture in the disk; failed: told of a failure
   */
  constructor(root, given) {
    Object.assign(this, { root, ...given, at: 0 });
    this.place = `hypjax:marks:${given.about.run}:${given.about.folder}`;
    this.marks = new Map(Object.entries(JSON.parse(localStorage.getItem(this.place) ?? "{}")));
    this.take(given.about, given.world);
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  /**
   * Takes what is indexed now; marks stay.
   * @param {object} about what is indexed
   * @param {object} world its map
   */
  take(about, world) {
    Object.assign(this, { about, world, items: null });
    const finest = world.levels[0];
    this.labels = new Map(world.paths.map((path, i) => [path, finest ? finest.names[finest.codes[i]] : ""]));
    this.root.replaceChildren();
    if (!this.root.hidden) this.open();
  }

  /** Asks for the queue when it is first looked at. */
  async open() {
    if (this.items) return this.list?.focus({ preventScroll: true });
    const awaited = (this.items = []);
    try {
      const { items } = await ask("queue?limit=200");
      if (this.items !== awaited) return;
      this.items = items;
    } catch (error) {
      if (this.items === awaited) this.items = null;
      return this.failed(error);
    }
    for (const { path, label } of this.items) {
      if (!this.labels.get(path)) this.labels.set(path, wholeLabel(path, label));
    }
    this.build();
    this.go(0);
    this.list.focus({ preventScroll: true });
  }

  build() {
    this.card = element("div", { className: "card" });
    const look = { className: "queue", "aria-label": "Least certain first" };
    this.list = element("ol", { role: "listbox", tabIndex: 0, ...look });
    this.items.forEach((item, i) => {
      const image = element("img", { alt: "", loading: "lazy" });
      this.pictures.show(image, item.path);
      const row = element("li", { role: "option", id: `queue-${i}` }, image, element("span", {}, item.path),
        element("span", { className: "mark" }));
      row.addEventListener("click", () => this.go(i));
      this.list.append(row);
    });
    this.classes = [...new Set(this.labels.values())].filter(Boolean).sort();
    for (const mark of this.marks.values()) mark.label &&= meant(mark.label, this.classes).label;
    const names = element("datalist", { id: "classes" }, ...this.classes.map((name) => new Option(name)));
    this.name = element("input", { type: "text", "aria-label": "New class", autocomplete: "off", hidden: true });
    this.name.setAttribute("list", "classes");
    this.name.placeholder = "its class";
    this.name.addEventListener("input", () => this.say());
    this.becomes = element("p", { className: "muted", role: "status" });
    const all = this.about.count <= this.world.paths.length;
    this.others = element("input", { type: "checkbox", checked: all, disabled: !all });
    const save = element("button", { type: "button", className: "primary" }, "Save listing");
    save.addEventListener("click", () => this.save());
    this.told = element("p", { className: "muted", role: "status" });
    const foot = element("div", { className: "bar-row" }, save,
      element("label", {}, this.others, " with all others as their folders say"));
    this.root.replaceChildren(this.card, names, this.list, foot, this.told);
    this.items.forEach((_, i) => this.sign(i));
    this.count();
  }

  /** Goes to an item and shows it. */
  go(at) {
    if (!this.items.length) return this.card.replaceChildren("Nothing is indexed.");
    this.at = Math.min(Math.max(at, 0), this.items.length - 1);
    const { path, label, uncertainty, p_wrong: wrong } = this.items[this.at];
    this.list.querySelector("[aria-selected=true]")?.removeAttribute("aria-selected");
    const row = this.list.children[this.at];
    row.setAttribute("aria-selected", "true");
    this.list.setAttribute("aria-activedescendant", row.id);
    row.scrollIntoView({ block: "nearest" });
    const image = element("img", { alt: "" });
    this.pictures.show(image, path);
    const button = (words, key, verdict) => {
      const made = element("button", { type: "button" }, words, element("span", { className: "hint" }, ` (${key})`));
      made.addEventListener("click", () => this.mark(verdict));
      return made;
    };
    const chance = typeof wrong === "number" ? ` · ${Math.round(100 * wrong)} % that its first answer is wrong` : "";
    this.name.hidden = true;
    this.name.value = this.marks.get(path)?.label ?? "";
    this.say();
    const words = element("div", { className: "words" },
      element("p", { className: "muted" }, `${this.at + 1} of ${this.items.length}${chance}`),
      element("h2", {}, this.labels.get(path) || label || "no class"), element("p", { className: "path" }, path),
      certainty(uncertainty),
      element("div", { className: "bar-row" }, button("Right", "r", "right"), button("Wrong", "w", "wrong"),
        button("Rename", "n", "renamed"), button("Undo", "u", "")), this.name, this.becomes);
    this.card.replaceChildren(image, words);
    this.look(path);
  }

  /** Marks the item that is shown, and goes on; a new name is asked for first. */
  mark(verdict, label = "") {
    const { path } = this.items[this.at];
    if (verdict === "renamed" && !label) {
      this.name.hidden = false;
      return this.name.focus();
    }
    if (verdict) this.marks.set(path, { verdict, label });
    else this.marks.delete(path);
    localStorage.setItem(this.place, JSON.stringify(Object.fromEntries(this.marks)));
    this.sign(this.at);
    this.count();
    this.go(verdict ? this.at + 1 : this.at);
    this.list.focus({ preventScroll: true });
  }

  sign(at) {
    const mark = this.marks.get(this.items[at].path);
    const shown = this.list.children[at].querySelector(".mark");
    shown.textContent = mark ? `${SIGNS[mark.verdict]} ${mark.label || mark.verdict}` : "";
    shown.dataset.verdict = mark?.verdict ?? "";
  }

  /** Says which class the name is of. */
  say() {
    const name = this.name.value.trim();
    const { label, known } = meant(name, this.classes);
    this.becomes.textContent = name && `→ ${label}${known ? "" : ", a new class"}`;
  }

  count() {
    this.told.textContent = this.marks.size ? `${this.marks.size} marked, kept in this browser.` : "";
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.items?.length) return;
    if (event.target === this.name) {
      const name = this.name.value.trim();
      if (event.key === "Enter" && name) this.mark("renamed", meant(name, this.classes).label);
      else if (event.key === "Escape") this.go(this.at);
      else return;
      event.preventDefault();
      return this.list.focus({ preventScroll: true });
    }
    const keys = {
      j: () => this.go(this.at + 1),
      k: () => this.go(this.at - 1),
      r: () => this.mark("right"),
      w: () => this.mark("wrong"),
      n: () => this.mark("renamed"),
      u: () => this.mark(""),
      Home: () => this.go(0),
      End: () => this.go(this.items.length - 1),
    };
    keys.ArrowDown = keys.j;
    keys.ArrowUp = keys.k;
    if (!keys[event.key] || event.target.matches("input, select")) return;
    event.preventDefault();
    keys[event.key]();
  }

  save() {
    const found = rows(this.marks, this.labels, this.others.checked);
    const listed = found.filter((row) => row.every(writable));
    const left = found.length - listed.length;
    const name = "listing.csv";
    const href = URL.createObjectURL(new Blob([csv(listed)], { type: "text/csv" }));
    const link = element("a", { href, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    const { folder } = this.about;
    const without = left ? `, without ${left} whose names are not UTF-8` : "";
    this.told.textContent = `${listed.length} pictures in ${name}${without}. Put it into ${folder}, then: `
      + `hypjax train --config hyp_uml:data=folder,data_dir=${folder}/${name}`;
  }
}
