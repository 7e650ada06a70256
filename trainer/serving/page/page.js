// The page: a list of pictures, what the model finds in the one that is chosen, and what a person does about it.

import { difference, draw, drawnSize, idsOfColours, idsOfLevels, pixelsOf, shares } from "./draw.js";
import { chosenFiles, droppedFiles } from "./files.js";
import { Refusal, ask, pictureOf, useToken } from "./service.js";

const VIEWS = ["contour", "overlay", "mask", "picture"];
const MODEL_EVERY_MS = 5000;

const at = (id) => document.getElementById(id);
const items = [];
const otherModels = new Map(); // by version
let model = null;
let chosen = null;
let threshold = null;
let shown = {};
let away = false; // whether the service did not answer when it was last asked for its model

// ---------------------------------------------------------------- the model

async function readModel() {
  try {
    const found = await (await ask("/version")).json();
    at("token-form").hidden = true;
    const changed = model && model.version !== found.version;
    model = found;
    const alias = found.alias ? ` (${found.alias})` : "";
    at("model").textContent = `${found.name}, version ${found.version}${alias}: ${found.classes.slice(1).join(", ")}`;
    at("wrong").hidden = !found.queue;
    at("threshold-control").hidden = found.classes.length > 2;
    if (changed) {
      say(at("progress"), `The model is version ${found.version} now.`);
      items.filter((item) => item.state === "done").forEach((item) => (item.state = "waiting"));
    }
    if (away) retry();
    away = false;
    work();
    await listVersions();
  } catch (error) {
    away = true;
    at("token-form").hidden = error.status !== 401;
    at("model").textContent = error.status === 401 ? "The service asks for a token." : error.message;
  }
}

/** What is known of a version, "" for the current one. Throws Refusal. */
async function modelOf(version) {
  if (!version || version === model.version) return model;
  if (!otherModels.has(version)) otherModels.set(version, await (await ask("/version", { version })).json());
  return otherModels.get(version);
}

/** Let pictures wait again that failed because the service was away, busy, or asked for the token. */
function retry() {
  const again = items.filter((item) => item.state === "failed" && [0, 401, 503].includes(item.status));
  again.forEach((item) => (item.state = "waiting"));
}

async function listVersions() {
  let found;
  try {
    found = await (await ask("/versions")).json();
  } catch {
    return; // the registry is away; the model still answers
  }
  const others = found.versions.filter((version) => version !== model.version);
  at("compare-control").hidden = !others.length;
  const select = at("second");
  const known = [...select.options].map((option) => option.value).filter(Boolean);
  if (known.join() === others.join()) return;
  const before = select.value;
  select.replaceChildren(new Option("none", ""), ...others.map((version) => new Option(version, version)));
  select.value = others.includes(before) ? before : "";
}

// ---------------------------------------------------------------- pictures

function add({ pictures, others }) {
  for (const [name, file] of pictures) {
    const item = { name, file, state: "waiting", text: "", results: new Map() };
    const button = document.createElement("button");
    button.type = "button";
    button.append(name, document.createElement("span"));
    button.addEventListener("click", () => choose(item));
    item.button = button;
    const entry = document.createElement("li");
    entry.append(button);
    at("list").append(entry);
    items.push(item);
    label(item);
  }
  const left = others ? `; ${others === 1 ? "1 other file is" : `${others} other files are`} left out` : "";
  const added = pictures.length === 1 ? "1 picture added" : `${pictures.length} pictures added`;
  say(at("progress"), pictures.length ? `${added}${left}` : `no pictures there${left}`);
  if (!chosen && items.length) choose(items[0]);
  work();
}

let working = false;

/** Predict what is waiting, the chosen picture first, one at a time; nothing before the model is known. */
async function work() {
  if (working || !model) return;
  working = true;
  for (;;) {
    const item = chosen?.state === "waiting" ? chosen : items.find((one) => one.state === "waiting");
    if (!item) break;
    item.state = "under way";
    label(item);
    try {
      item.results.clear();
      await predict(item, "");
      item.state = "done";
    } catch (error) {
      item.state = "failed";
      item.text = error.message;
      item.status = error.status;
      if (error.status === 401) await readModel();
    }
    label(item);
    const done = items.filter((one) => one.state === "done").length;
    const failed = items.filter((one) => one.state === "failed").length;
    say(at("progress"), `${done} of ${items.length} done${failed ? `, ${failed} failed` : ""}`);
    if (item === chosen) await show();
  }
  working = false;
}

/** Result of a picture by a version, "" for the current one. Throws Refusal. */
async function predict(item, version) {
  if (item.results.has(version)) return item.results.get(version);
  const most = model.limits.body_bytes;
  if (item.file.size > most) throw new Refusal(413, `more than ${most / 2 ** 20} MB, which is all that the service takes`);
  const one = (await modelOf(version)).classes.length === 2;
  const include = one ? "probabilities" : "mask";
  const wishes = { format: "json", include, bits: one ? 8 : "", name: item.name, version };
  const result = await (await ask("/predict", wishes, item.file)).json();
  item.results.set(version, result);
  return result;
}

function label(item) {
  const words = { waiting: "waiting", "under way": "…", failed: "failed" };
  const row = item.results.get("");
  const span = item.button.lastChild;
  span.className = item.state === "failed" || row?.unsure ? "unsure" : "";
  span.textContent = item.state === "done" ? `${percent(row.confidence)}${row.unsure ? " unsure" : ""}` : words[item.state];
  item.button.setAttribute("aria-current", item === chosen ? "true" : "false");
}

async function choose(item) {
  const before = chosen;
  chosen = item;
  if (before) {
    label(before);
    if (before !== item) before.image = undefined; // of megapixels, and decoded again where it is chosen again
  }
  label(item);
  item.button.focus();
  at("result").hidden = false;
  say(at("outcome"), "");
  await show();
  if (item.state === "waiting") work();
}

// ---------------------------------------------------------------- the result

async function show() {
  const item = chosen;
  at("result-title").textContent = item.name;
  const ready = item.state === "done";
  for (const id of ["download-mask", "download-labelme", "wrong"]) at(id).disabled = !ready;
  if (!ready) {
    shown = {}; // or the next redraw would put another picture's numbers here
    at("facts").textContent = item.state === "failed" ? item.text : "being predicted …";
    at("panels").hidden = true;
    at("legend").replaceChildren();
    return;
  }
  const second = at("second").value;
  const image = await decoded(item);
  const result = item.results.get("");
  const parts = [await prepared(item, result, image)];
  if (second) {
    try {
      at("second-caption").textContent = `version ${second} is being asked …`;
      parts.push(await prepared(item, await predict(item, second), image));
    } catch (error) {
      at("second-caption").textContent = error.message;
    }
  }
  if (item !== chosen) return; // another one was chosen meanwhile
  shown = { item, image, parts, second };
  at("panels").hidden = false;
  at("second-figure").hidden = !second;
  redraw();
}

/** The picture as the browser decodes it; null for a form that it cannot show. */
async function decoded(item) {
  if (item.image === undefined) {
    try {
      item.image = await createImageBitmap(item.file, { imageOrientation: "from-image" });
    } catch {
      item.image = null;
    }
  }
  return item.image;
}

/** What is drawn of a result: its model, size, pixels of the picture, and levels or colours of what was found. */
async function prepared(item, result, image) {
  const size = drawnSize(result.width, result.height);
  const one = "probabilities" in result;
  const found = pixelsOf(await pictureOf(one ? result.probabilities : result.mask), ...size, one);
  const own = await modelOf(result.model.version);
  return { result, model: own, size, found, one, image: image ? pixelsOf(image, ...size, true) : null };
}

function redraw() {
  if (!shown.parts) return;
  const { item, parts, second } = shown;
  const view = document.querySelector("input[name=view]:checked").value;
  if (parts[0].one) {
    const used = threshold ?? parts[0].model.threshold;
    at("threshold").value = used;
    at("threshold-value").textContent = used.toFixed(2);
    at("reset").disabled = threshold === null;
  }
  parts.forEach((part, place) => {
    const { colours, mask_colours } = part.model;
    const own = (parts[0].one ? threshold : null) ?? part.model.threshold; // there is one to move where the first has one
    part.ids = part.one ? idsOfLevels(part.found, own) : idsOfColours(part.found, mask_colours);
    const canvas = at(place ? "second-canvas" : "first-canvas");
    draw(canvas, part.size, part.image, part.ids, colours, part.image ? view : "mask");
    const version = part.result.model.version;
    const text = `version ${version}: ${describe(part)}`;
    canvas.setAttribute("aria-label", `${item.name}, ${view}, ${text}`);
    at(place ? "second-caption" : "first-caption").textContent = text;
  });
  const apart = parts.length === 2 ? `; ${compared(...parts)}` : "";
  const row = parts[0].result;
  const facts = at("facts");
  facts.textContent = `${row.width} x ${row.height} pixels, confidence ${percent(row.confidence)}${apart}`;
  if (row.unsure) facts.append(mark(" unsure: look at this one first"));
  if (!parts[0].image) facts.append(" (this browser cannot show the picture itself)");
  legend(parts[0]);
  at("second-figure").hidden = !second;
}

function compared(one, other) {
  const same = JSON.stringify(one.model.classes) === JSON.stringify(other.model.classes);
  if (!same) return "the versions have different classes, and are not compared by pixels";
  return `the versions differ in ${percent(difference(one.ids, other.ids))}`;
}

function describe(part) {
  const { classes } = part.model;
  const found = shares(part.ids, classes.length);
  const there = classes.slice(1).filter((_name, place) => found[place + 1] > 0);
  return there.length ? there.map((name) => `${name} ${percent(found[classes.indexOf(name)])}`).join(", ") : "nothing found";
}

function legend(part) {
  const { classes, colours } = part.model;
  const found = shares(part.ids, classes.length);
  const entries = classes.slice(1).map((name, place) => {
    const entry = document.createElement("li");
    const swatch = document.createElement("canvas");
    swatch.className = "swatch";
    swatch.width = swatch.height = 14;
    swatch.style.display = "inline-block";
    swatch.setAttribute("aria-hidden", "true");
    const context = swatch.getContext("2d");
    context.fillStyle = `rgb(${colours[place + 1].join()})`;
    context.fillRect(0, 0, 14, 14);
    entry.append(swatch, `${name} ${percent(found[place + 1])}`);
    return entry;
  });
  at("legend").replaceChildren(...entries);
}

function mark(text) {
  const span = document.createElement("span");
  span.className = "unsure";
  span.textContent = text;
  return span;
}

function percent(share) {
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

function say(where, text, failed = false) {
  where.textContent = text;
  where.classList.toggle("failed", failed);
}

// ---------------------------------------------------------------- what a person does

/** Threshold that a request names: only one that was moved. */
function moved() {
  return threshold === null || model.classes.length > 2 ? "" : threshold;
}

async function download(format, ending) {
  const item = chosen;
  try {
    const response = await ask("/predict", { format, threshold: moved(), name: item.name }, item.file);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = `${item.name.split("/").pop().replace(/\.[^.]*$/, "")}${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    say(at("outcome"), `${link.download}, by version ${decodeURIComponent(response.headers.get("X-Model-Version"))}`);
  } catch (error) {
    say(at("outcome"), error.message, true);
  }
}

async function callWrong() {
  const item = chosen;
  try {
    const response = await ask("/wrong", { threshold: moved(), name: item.name }, item.file);
    const placed = await response.json();
    const text = placed.new ? `${placed.annotation} is in the labelling queue` : `${placed.annotation} was in the queue already`;
    say(at("outcome"), text);
  } catch (error) {
    say(at("outcome"), error.message, true);
  }
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(at("token").value);
  readModel();
});
for (const [button, input] of [["choose-files", "files"], ["choose-folder", "folder"]]) {
  at(button).addEventListener("click", () => at(input).click());
  at(input).addEventListener("change", () => {
    add(chosenFiles(at(input).files));
    at(input).value = "";
  });
}
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
  });
}
document.addEventListener("drop", async (event) => add(await droppedFiles(event.dataTransfer)));
document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) add(chosenFiles(event.clipboardData.files));
});
at("threshold").addEventListener("input", () => {
  threshold = Number(at("threshold").value);
  redraw();
});
at("reset").addEventListener("click", () => {
  threshold = null;
  redraw();
});
at("second").addEventListener("change", () => chosen && show());
document.querySelectorAll("input[name=view]").forEach((radio) => radio.addEventListener("change", redraw));
at("download-mask").addEventListener("click", () => download("mask", ".png"));
at("download-labelme").addEventListener("click", () => download("labelme", ".json"));
at("wrong").addEventListener("click", callWrong);
at("list").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const next = step && items[items.indexOf(chosen) + step];
  if (next) {
    event.preventDefault();
    choose(next);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=password], select")) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view && chosen) {
    document.querySelector(`input[name=view][value=${view}]`).checked = true;
    redraw();
  } else if (event.key === "w" && !at("wrong").hidden && !at("wrong").disabled && chosen) {
    callWrong();
  }
});

await readModel();
setInterval(readModel, MODEL_EVERY_MS);
