// What is asked of the server: JSON, and pictures that a canvas can draw.

const TOKEN = "hypjax:token";
const AT_ONCE = 6;
const KEPT = 800; // pictures
const HOPELESS = 24; // failures in a row, after which the disk asks no more

const UNNAMED = "no picture: its file name is not UTF-8, and no address can hold it";

let asking = null; // the token is asked for once, however many requests wait for it

/** Something that the server, or the way to it, refused; its message is one line. */
export class Refusal extends Error {}

/**
 * Asks the server.
 * @param {string} path below the page
 * @param {RequestInit} options of the request
 * @returns {Promise<object>} what it answers
 */
export async function ask(path, options = {}) {
  const response = await send(path, options);
  return response.json();
}

async function send(path, options) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer.");
  }
  if (response.status === 401) {
    if (sessionStorage.getItem(TOKEN) === token) {
      asking ??= askToken().finally(() => (asking = null));
      await asking;
    }
    return send(path, options);
  }
  if (!response.ok) throw new Refusal(await reason(response));
  return response;
}

async function reason(response) {
  try {
    return String((await response.json()).error).split("\n")[0];
  } catch {
    return `The server answers ${response.status} ${response.statusText}.`;
  }
}

function askToken() {
  const dialog = document.getElementById("token");
  const field = document.getElementById("token-value");
  field.value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(sessionStorage.setItem(TOKEN, field.value.trim())), { once: true });
  });
}

/**
 * Whether an address, and a file in UTF-8, can hold a text; names of files may be anything.
 * @param {string} text such as a path
 * @returns {boolean} whether it is whole Unicode
 */
export function writable(text) {
  return !/\p{Surrogate}/u.test(text);
}

/** Thumbnails of indexed pictures, a few fetched at a time. */
export class Pictures {
  /** @param {function()} loaded called when another one can be drawn */
  constructor(loaded) {
    this.loaded = loaded;
    this.held = new Map();
    this.shown = []; // asked for by elements, first come first served
    this.waiting = []; // asked for by the disk, which may have moved on
    this.running = 0;
    this.failures = 0;
  }

  /**
   * A picture as it is now; asks for it where it was not asked for yet.
   * @param {string} path in the index
   * @returns {?HTMLImageElement} undefined while it is on its way, null where there is none
   */
  now(path) {
    const held = this.held.get(path);
    if (held) return held.image;
    if (!writable(path)) return null;
    return this.failures < HOPELESS ? this.want(path, this.waiting).image : null;
  }

  /**
   * Shows a picture in an element, as soon as it is there.
   * @param {HTMLImageElement} image takes it
   * @param {string} path in the index
   */
  async show(image, path) {
    if (!writable(path)) {
      image.title = UNNAMED;
      return;
    }
    const entry = this.held.get(path) ?? this.want(path, this.shown);
    await entry.done;
    if (entry.image) image.src = entry.image.src;
    else image.classList.add("gone");
  }

  want(path, line) {
    const entry = { path, image: undefined };
    entry.done = new Promise((resolve) => (entry.resolve = resolve));
    this.held.set(path, entry);
    line.push(entry);
    this.next();
    return entry;
  }

  async next() {
    if (this.running >= AT_ONCE) return;
    const entry = this.shown.shift() ?? this.waiting.pop();
    if (!entry) return;
    this.running++;
    const image = new Image();
    try {
      const response = await send(`image?${new URLSearchParams({ path: entry.path, side: "192" })}`, {});
      image.src = URL.createObjectURL(await response.blob());
      await image.decode();
      entry.image = image;
      this.failures = 0;
      this.loaded();
    } catch {
      entry.image = null; // its file is gone
      this.failures++;
      this.loaded();
    }
    entry.resolve();
    this.running--;
    this.forget();
    this.next();
  }

  forget() {
    for (const [path, { image }] of this.held) {
      if (this.held.size <= KEPT) return;
      if (!image) continue;
      URL.revokeObjectURL(image.src);
      this.held.delete(path);
    }
  }
}
