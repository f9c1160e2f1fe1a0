// A search: a picture asks, its neighbors answer, and one of them asks next.

import { ask, writable } from "./api.js";
import { element, ending } from "./explorer.js";

const JSON_BODY = { "Content-Type": "application/json" };
const MOST = 100; // neighbors

/** Searches, with a history that the browser's own buttons walk through. */
export class Search {
  /**
   * @param {HTMLElement} root takes what is found
   * @param {Pictures} pictures of the index
   * @param {{found: function(object, object), failed: function(Error), passed: function(), some: function(): string}}
   *   told of an answer and its query, of a failure, or of a filter that can be read; some: a path of the index
   */
  constructor(root, pictures, told) {
    Object.assign(this, { root, pictures, told, files: new Map(), number: 0 });
    root.append(element("p", { className: "muted empty" }, "Neighbors of a picture will stand here. "
      + "Give one, or click a point of the disk."));
    addEventListener("popstate", () => this.fromHistory());
    this.fromHistory();
  }

  /**
   * Searches with a picture from elsewhere.
   * @param {File} file an image
   */
  withFile(file) {
    const id = String(++this.number);
    this.files.set(id, { file, url: URL.createObjectURL(file), name: file.name || "pasted picture" });
    history.pushState({ id }, "", `#picture=${id}`);
    return this.run({ id });
  }

  /**
   * Searches with a picture of the index; one that no address can hold is known to this page's history alone.
   * @param {string} path its own
   */
  withPath(path) {
    history.pushState({ path }, "", writable(path) ? `#path=${encodeURIComponent(path)}` : "#path");
    return this.run({ path });
  }

  /** Searches again, where options changed; without a query as yet, only sees whether the filter can be read. */
  async again() {
    count();
    if (this.query) return this.run(this.query);
    const body = JSON.stringify({ path: this.told.some(), k: 1, where: value("where") });
    try {
      if (value("where")) await ask("search", { method: "POST", body, headers: JSON_BODY });
      this.told.passed();
    } catch (error) {
      this.told.failed(error);
    }
  }

  fromHistory() {
    const path = history.state?.path ?? named(location.hash);
    const id = /^#picture=(\d+)$/.exec(location.hash)?.[1];
    if (path !== undefined) this.run({ path });
    else if (this.files.has(id)) this.run({ id });
  }

  async run(query) {
    this.query = query;
    this.running?.abort();
    const running = (this.running = new AbortController());
    this.root.setAttribute("aria-busy", "true");
    try {
      const answer = await ask("search", { method: "POST", signal: running.signal, ...this.body(query) });
      if (this.running === running) {
        this.show(query, answer);
        this.told.found(answer, query);
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      this.root.replaceChildren(element("p", { className: "muted empty" }, "To this there is no answer."));
      this.told.failed(error);
    } finally {
      if (this.running === running) this.root.removeAttribute("aria-busy");
    }
  }

  body({ path, id }) {
    const options = { k: count(), where: value("where"), risk: value("risk") };
    const given = Object.entries(options).filter(([, option]) => option !== "");
    if (path !== undefined) {
      const risk = options.risk === "" ? {} : { risk: Number(options.risk) };
      const body = JSON.stringify({ path, ...Object.fromEntries(given), ...risk });
      return { body, headers: JSON_BODY };
    }
    const form = new FormData();
    form.append("image", this.files.get(id).file);
    for (const [name, option] of given) form.append(name, option);
    return { body: form };
  }

  show(query, answer) {
    const own = element("img", { alt: "", className: "own" });
    if (query.id) own.src = this.files.get(query.id).url;
    else this.pictures.show(own, query.path);
    const name = query.id ? this.files.get(query.id).name : query.path;
    const words = element("div", { className: "words" }, element("h2", {}, name), chips(answer));
    for (const line of answer.words ?? []) words.append(element("p", {}, line));
    const list = element("ol", { className: "neighbors", "aria-label": "Neighbors, the nearest first" });
    answer.neighbors.forEach((neighbor, rank) => list.append(element("li", {}, this.card(neighbor, rank))));
    this.root.replaceChildren(element("div", { className: "query" }, own, words), list);
    if (!answer.neighbors.length) list.replaceWith(element("p", { className: "muted empty" }, "Nothing was found."));
  }

  card({ path, distance, uncertainty }, rank) {
    const image = element("img", { alt: "", loading: "lazy" });
    this.pictures.show(image, path);
    const certain = certainty(uncertainty);
    const card = element(
      "button",
      { type: "button", title: path },
      image,
      element("span", { className: "numbers" }, element("b", {}, `${rank + 1}`), ` distance ${distance.toFixed(3)}`),
      certain,
      element("span", { className: "path" }, ending(path)),
    );
    card.addEventListener("click", () => this.withPath(path));
    return card;
  }
}

/**
 * How certain a picture is, as a bar and a number.
 * @param {number} uncertainty in [0, 1]
 * @returns {HTMLElement} element
 */
export function certainty(uncertainty) {
  const bar = element("span", { className: "bar" }, element("span"));
  bar.firstChild.style.width = `${100 * (1 - uncertainty)}%`;
  return element("span", { className: "certainty" }, bar, `certainty ${(1 - uncertainty).toFixed(2)}`);
}

function chips({ query, given, unlike, higher }) {
  const row = element("p", { className: "chips" });
  const chip = (words, kind) => row.append(element("span", { className: `chip ${kind}` }, words));
  if (unlike) chip("nothing like it", "bad");
  if (given === false) chip(higher ? `not sure, but of ${higher}` : "not sure", "doubt");
  if (given === true) chip("sure enough", "good");
  if (typeof query.uncertainty === "number") row.append(certainty(query.uncertainty));
  return row;
}

/** How many neighbors are asked for: the nearest number that may be, which the field shows from now on. */
function count() {
  const field = document.getElementById("k");
  const given = field.valueAsNumber;
  field.value = Number.isNaN(given) ? 12 : Math.min(MOST, Math.max(1, Math.round(given)));
  return field.valueAsNumber;
}

/** The path in an address; undefined where there is none that can be read. */
function named(hash) {
  try {
    return hash.startsWith("#path=") ? decodeURIComponent(hash.slice(6)) : undefined;
  } catch {
    return undefined;
  }
}

function value(id) {
  return document.getElementById(id).value.trim();
}
