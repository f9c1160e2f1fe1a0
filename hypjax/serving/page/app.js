// The page: what is asked, what is found, and the disk beside it.

import { Pictures, Refusal, ask } from "./api.js";
import { describe, explorer } from "./explorer.js";
import { Queue } from "./queue.js";
import { Search } from "./search.js";
import { tabs } from "./tabs.js";
import { Tree } from "./tree.js";

const $ = (id) => document.getElementById(id);

function fail(error) {
  const line = $("error");
  line.hidden = false;
  line.textContent = error instanceof Refusal ? error.message : `Something went wrong: ${error.message}`;
}

function takePictures(search) {
  const take = (files) => {
    const file = [...files].find(({ type }) => type.startsWith("image/")) ?? files[0];
    if (file) search.withFile(file);
  };
  for (const [button, input] of [["choose", "file"], ["camera", "shot"]]) {
    $(button).addEventListener("click", () => $(input).click());
    $(input).addEventListener("change", () => {
      take($(input).files);
      $(input).value = "";
    });
  }
  addEventListener("paste", (event) => event.clipboardData.files.length && take(event.clipboardData.files));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    take(event.dataTransfer.files);
  });
  $("options").addEventListener("change", () => search.again());
  $("options").addEventListener("submit", (event) => {
    event.preventDefault();
    search.again();
  });
}

function tell({ folder, count, run, step, geometry, curvature, calibrated, risks }) {
  $("folder").textContent = folder;
  document.title = `${folder} – hypjax`;
  const curved = curvature === null ? "" : `, c = ${Number(curvature.toPrecision(3))}`;
  $("about").textContent = `${count.toLocaleString("en")} pictures · ${run}, step ${step} · ${geometry}${curved}`;
  $("risk-label").hidden = !calibrated;
  for (const risk of calibrated ? risks : []) $("risk").append(new Option(`${Math.round(100 * risk)} %`, risk));
}

function watchIndex(about) {
  addEventListener("focus", async () => {
    const now = await ask("about").catch(() => about);
    if (now.changes !== about.changes) fail(new Refusal("The index has changed: reload the page to see all."));
  });
}

async function start() {
  const about = await ask("about");
  tell(about);
  const world = await ask("map");
  const row = new Map(world.paths.map((path, index) => [path, index]));
  const pictures = new Pictures(() => disk.invalidate());
  const thumbnail = (index) => {
    const image = pictures.now(world.paths[index]);
    return image && { image, left: 0, top: 0, width: image.naturalWidth, height: image.naturalHeight };
  };
  const look = (index, neighbors = [], query = null) => {
    disk.unlight();
    disk.select(index, neighbors, query);
    const place = disk.focusPlace();
    if (place) disk.bring(place);
    disk.say(index >= 0 ? describe(world, index) : "");
  };
  const open = (index) => search.withPath(world.paths[index]);
  const disk = explorer($("disk"), world, { thumbnail, open, leave: () => look(-1) });
  const found = ({ query, neighbors }, { path }) => {
    $("error").hidden = true;
    const near = neighbors.map((neighbor) => row.get(neighbor.path)).filter((index) => index !== undefined);
    const index = row.get(path) ?? -1;
    look(index, near, index < 0 && typeof query.x === "number" ? query : null);
    if (document.body.dataset.view !== "disk") show("found");
  };
  const lookAt = (path) => look(row.get(path) ?? -1);
  const queue = new Queue($("queue"), { about, world, pictures, failed: fail, look: lookAt });
  const show = tabs((name) => name === "queue" && queue.open());
  const search = new Search($("found"), pictures, { found, failed: fail });
  new Tree($("tree"), world, pictures, {
    picture: open,
    folder: (members, name) => {
      const within = new Set(members);
      look(-1);
      disk.highlight((index) => within.has(index));
      disk.say(`${name} · ${members.length} pictures`);
    },
  });
  takePictures(search);
  watchIndex(about);
}

start().catch(fail);
