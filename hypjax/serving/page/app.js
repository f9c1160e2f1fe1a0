// The page: what is asked, what is found, and what is indexed beside it.

import { Refusal } from "./api.js";
import { Indexed } from "./indexed.js";
import { Queue } from "./queue.js";
import { Search } from "./search.js";
import { tabs } from "./tabs.js";

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
  $("more").addEventListener("click", () => {
    $("more").setAttribute("aria-expanded", String($("more").getAttribute("aria-expanded") !== "true"));
  });
  $("options").addEventListener("change", () => search.again());
  $("options").addEventListener("submit", (event) => {
    event.preventDefault();
    search.again();
  });
}

async function start() {
  const passed = () => ($("error").hidden = true);
  const renew = async () => {
    if (await indexed.renew()) queue.take(indexed.about, indexed.world);
  };
  const failed = async (error) => {
    fail(error);
    indexed.look(-1);
    await renew().catch(fail);
  };
  const found = async (answer, { path }) => {
    passed();
    document.body.dataset.asked = "";
    if (answer.changes !== indexed.about.changes) await renew().catch(fail);
    indexed.lookAtFound(answer, path);
    if (document.body.dataset.view !== "disk") show("found");
  };
  const indexed = new Indexed((index) => search.withPath(indexed.world.paths[index]));
  await indexed.take();
  const { about, world, pictures } = indexed;
  const look = (path) => indexed.lookAt(path);
  const queue = new Queue($("queue"), { about, world, pictures, failed: fail, look });
  const show = tabs((name) => name === "queue" && queue.open());
  const search = new Search($("found"), pictures, { found, failed, passed, some: () => indexed.world.paths[0] });
  takePictures(search);
  addEventListener("focus", () => renew().catch(fail));
}

start().catch(fail);
