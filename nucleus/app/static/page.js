// The page: start, work on a file, show its nuclei. The other modules each do one thing and know nothing of each other.

import * as server from "./server.js";
import { Table, text } from "./table.js";
import { Threshold } from "./threshold.js";
import { Viewer } from "./viewer.js";

const el = (id) => document.getElementById(id);
const LIKELY = /dapi|hoechst|h33342|draq|syto|nucle/i; // names of stains of nuclei

let settings = null;
let shown = null; // { key, file, name, facts } of the image on the page
let running = null; // AbortController of the work under way

const table = new Table(el("table"), el("head"), el("rows"), el("nothing"), {
  onChoose: (index) => choose(index),
  onOpen: (index) => choose(index, true),
});
const viewer = new Viewer(el("stage"), el("picture"), el("outlines"), {
  onPick: (index) => choose(index),
  onHover: (index) => bubble(index >= 0 ? index : table.chosen),
});
const threshold = new Threshold({
  slider: el("threshold"),
  value: el("threshold-value"),
  histogram: el("histogram"),
  reset: el("reset"),
  onChange: (count) => {
    if (!shown) return;
    el("count").textContent = count.toLocaleString("en");
    el("count-word").textContent = count === 1 ? "nucleus" : "nuclei";
    if (table.chosen >= count) choose(-1);
    viewer.shown = count;
    table.shown = count;
    el("stage").setAttribute("aria-label", `Image with ${count} ${count === 1 ? "nucleus" : "nuclei"} outlined`);
  },
});

function choose(index, zoom = false) {
  viewer.choose(index, { zoom });
  table.choose(index);
  bubble(index);
}

function bubble(index) {
  const columns = table.columns;
  el("bubble").textContent = index < 0 || !columns ? "" : `No. ${index + 1} · score ${text(columns[1], index)} · `
    + `${columns[2].title.toLowerCase()} ${text(columns[2], index)} ${columns[2].unit}`;
}

// A file

async function open(file, name, choice = {}) {
  hideMessage();
  if (settings && file.size > settings.uploadBytes) {
    message(`The file is too large: the page takes up to ${mebibytes(settings.uploadBytes)} MiB. For larger files `
      + "there is the command “nucleus predict”, which takes any size.");
    return;
  }
  running?.abort();
  const mine = (running = new AbortController());
  busy(`Reading ${name}`, "");
  try {
    for await (const state of server.work(file, name, choice, mine.signal)) {
      if (state.state === "waiting" && state.ahead > 0) {
        busy("Waiting", state.ahead === 1 ? "One image is before yours." : `${state.ahead} images are before yours.`);
      } else if (state.state === "running" && state.total > 0) {
        busy("Finding nuclei", state.total > 1 ? `Part ${Math.min(state.done + 1, state.total)} of ${state.total}` : "", state);
      } else if (state.state === "choose") {
        running = null;
        busy(null);
        ask(file, name, state.choices, choice);
        return;
      } else if (state.state === "done") {
        await show(state.key, file, name);
      }
    }
  } catch (error) {
    if (error.name !== "AbortError") message(error instanceof server.Sentence ? error.message : String(error));
  }
  if (running === mine) {
    running = null;
    busy(null);
  }
}

async function show(key, file, name) {
  const facts = await server.nuclei(key);
  const picture = el("picture");
  picture.src = server.pictureAddress(key);
  await picture.decode();
  if (shown) server.forget(shown.key);
  shown = { key, file, name, facts };
  picture.alt = `The image ${name}`;
  el("start").hidden = true;
  el("work").hidden = el("another").hidden = false;
  document.body.classList.add("working");
  el("name").textContent = el("name").title = name;
  el("facts").textContent = describe(facts);
  el("show-numbers").setAttribute("aria-pressed", String((viewer.numbers = false)));
  el("brightness").value = 0;
  brighten();
  const fields = choiceFields(facts.choices, facts.choice);
  el("choice").hidden = fields.length === 0;
  el("choice").replaceChildren(...fields);
  viewer.show(facts.width, facts.height, facts.outlines);
  table.show(facts.columns, facts.scores.length);
  threshold.show(facts.scores);
  bubble(-1);
  window.scrollTo(0, 0);
  el("stage").focus({ preventScroll: true });
}

function describe({ width, height, bits, pixelSize, seconds }) {
  const parts = [`${width.toLocaleString("en")} × ${height.toLocaleString("en")} px`, `${bits} bit`];
  if (pixelSize) parts.push(`${Number(pixelSize[1].toPrecision(3))} µm/px`);
  parts.push(`${seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds)} s`);
  return parts.join(" · ");
}

// Files with several images, pages or channels

function choiceFields(choices, chosen) {
  const fields = [];
  const select = (name, label, options, value) => {
    const field = document.createElement("label");
    const control = document.createElement("select");
    control.name = name;
    for (const [key, title] of options) control.append(new Option(title, key, false, key === value));
    field.append(label, control);
    fields.push(field);
  };
  if (choices.series.length) {
    const options = choices.series.map((size, number) => [String(number), `${number + 1}: ${size}`]);
    select("series", "Image", options, String(chosen.series ?? 0));
  }
  if (choices.channels.length) {
    const options = choices.channels.map((name, number) => [String(number), name]);
    if (options.length === 3) options.push(["0,1,2", "All three as red, green, blue"]);
    const likely = Math.max(0, choices.channels.findIndex((name) => LIKELY.test(name)));
    select("channels", "Channel", options, chosen.channels?.join(",") ?? String(likely));
  }
  if (choices.pages > 1) {
    const field = document.createElement("label");
    const control = document.createElement("input");
    const page = chosen.page ?? Math.floor(choices.pages / 2);
    Object.assign(control, { type: "number", name: "page", min: 1, max: choices.pages, step: 1, required: true });
    control.value = page + 1;
    field.append(`Page, 1 to ${choices.pages.toLocaleString("en")}`, control);
    fields.push(field);
  }
  return fields;
}

function chosenIn(form, before = {}) {
  const data = new FormData(form);
  const page = data.get("page");
  return {
    series: data.get("series") ?? before.series,
    channels: data.get("channels") ?? before.channels,
    page: page === null ? before.page : Number(page) - 1,
  };
}

function ask(file, name, choices, before) {
  const dialog = el("ask");
  el("ask-fields").replaceChildren(...choiceFields(choices, {}));
  el("ask-form").onsubmit = () => open(file, name, chosenIn(el("ask-form"), before));
  dialog.showModal();
}

// What is shown over everything else

function busy(title, note = "", { done = 0, total = 0 } = {}) {
  el("busy").hidden = title === null;
  if (title === null) return;
  el("busy-title").textContent = title;
  el("busy-note").textContent = note;
  const bar = el("busy-bar");
  if (total > 1) Object.assign(bar, { max: total, value: done });
  else bar.removeAttribute("value");
}

function message(sentence) {
  el("message-text").textContent = sentence;
  el("message").hidden = false;
}

function hideMessage() {
  el("message").hidden = true;
}

function mebibytes(bytes) {
  return Number((bytes / 2 ** 20).toPrecision(4)).toLocaleString("en");
}

// Downloads

async function download(format, button) {
  const { key } = shown;
  button.setAttribute("aria-busy", "true");
  hideMessage();
  try {
    const { name, content } = await server.download(key, format, threshold.text);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    message(error.message);
  }
  button.removeAttribute("aria-busy");
}

function listFormats(formats) {
  el("downloads").replaceChildren(...formats.map((format) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.format = format.name;
    button.disabled = !format.available;
    const [title, note] = [document.createElement("span"), document.createElement("small")];
    title.textContent = format.title;
    note.textContent = format.description;
    button.append(title, note);
    button.addEventListener("click", () => download(format.name, button));
    item.append(button);
    return item;
  }));
}

// Start

function listExamples(examples) {
  el("examples").hidden = examples.length === 0;
  el("example-list").replaceChildren(...examples.map(({ key, title }) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const image = new Image();
    image.src = `/examples/${key}.png`;
    image.alt = "";
    const caption = document.createElement("span");
    caption.textContent = title;
    button.append(image, caption);
    button.addEventListener("click", async () => {
      try {
        await open(await server.example(key), `${title}.png`);
      } catch (error) {
        message(error.message);
      }
    });
    item.append(button);
    return item;
  }));
}

function brighten() {
  const factor = 2 ** Number(el("brightness").value);
  el("picture").style.filter = factor > 1 ? `brightness(${factor})` : "";
}

function toggle(button, name) {
  viewer[name] = !viewer[name];
  button.setAttribute("aria-pressed", String(viewer[name]));
  viewer.draw();
}

function openFirst(files) {
  if (files.length) open(files[0], files[0].name || "image");
  if (files.length > 1) message("One image at a time: the first one is opened. For many there is “nucleus predict”.");
}

function listen() {
  el("file").addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    openFirst(files);
  });
  el("another").addEventListener("click", () => el("file").click());
  el("cancel").addEventListener("click", () => running?.abort());
  el("message-close").addEventListener("click", hideMessage);
  el("ask-cancel").addEventListener("click", () => el("ask").close());
  el("choice").addEventListener("change", () => {
    if (el("choice").reportValidity()) open(shown.file, shown.name, chosenIn(el("choice")));
  });
  el("choice").addEventListener("submit", (event) => event.preventDefault());
  el("download-all").addEventListener("click", (event) => download("all", event.currentTarget));
  el("zoom-in").addEventListener("click", () => viewer.zoom(1.5));
  el("zoom-out").addEventListener("click", () => viewer.zoom(1 / 1.5));
  el("fit").addEventListener("click", () => viewer.fit());
  el("show-outlines").addEventListener("click", (event) => toggle(event.currentTarget, "outlines"));
  el("show-numbers").addEventListener("click", (event) => toggle(event.currentTarget, "numbers"));
  el("brightness").addEventListener("input", brighten);
  el("stage").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !viewer.count) return;
    const key = event.key.toLowerCase();
    if (key === "n") choose((table.chosen + 1) % viewer.count);
    if (key === "p") choose((table.chosen - 1 + viewer.count) % viewer.count);
    if (key === "o") toggle(el("show-outlines"), "outlines");
    if (key === "l") toggle(el("show-numbers"), "numbers");
    if (key === "enter" && table.chosen >= 0) choose(table.chosen, true);
    if (key === "escape") choose(-1);
  });
  let depth = 0;
  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const cover = (on) => {
    depth = on ? depth : 0;
    el("drop-cover").hidden = !on;
  };
  document.addEventListener("dragenter", (event) => {
    if (carriesFiles(event)) cover(++depth > 0);
  });
  document.addEventListener("dragleave", (event) => {
    if (carriesFiles(event) && --depth <= 0) cover(false);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    cover(false);
    if (!el("ask").open) openFirst([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => openFirst([...(event.clipboardData?.files ?? [])]));
}

async function start() {
  listen();
  if (!["localhost", "[::1]"].includes(location.hostname) && !/^127\./.test(location.hostname)) {
    el("privacy").textContent = `Your images go to ${location.hostname} and nowhere else.`;
  }
  try {
    settings = await server.settings();
  } catch (error) {
    message(error.message);
    return;
  }
  const megapixels = (settings.pixels / 1e6).toLocaleString("en", { maximumFractionDigits: 1 });
  el("limits").textContent = `, up to ${mebibytes(settings.uploadBytes)} MiB and ${megapixels} megapixels`;
  threshold.standard = settings.threshold;
  threshold.set(settings.threshold);
  listFormats(settings.formats);
  listExamples(settings.examples);
}

start();
