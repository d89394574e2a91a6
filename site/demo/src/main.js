// The page: what the reader picked, and what follows from it.

import { loadCatalogue } from "./catalogue.js";
import { $, element } from "./dom.js";
import { Failure, fetchJson } from "./download.js";
import { readLink, writeLink } from "./link.js";
import { downloadSize, loadModel } from "./model.js";
import { picksList } from "./picks.js";
import { shelf } from "./shelf.js";
import { percent, tenList } from "./ten.js";

const MOST = 30; // films in a selection, unless the model reads fewer
const ASKED = 5; // films that the page asks for
const COUNTS = ["", "One film says", "Two films say", "Three films say", "Four films say"];

let manifest, catalogue, model, markShelf;
let picked = []; // movie ids, watched first to watched last
let loading = null; // the promise of the model, while and after it loads
let busy = false; // the model is at work
let stale = false; // the selection has changed since it began

const showPicks = picksList(choose);
const showTen = tenList((id) => toggle(id));

async function open() {
  try {
    [manifest, catalogue] = await Promise.all([fetchJson("manifest.json"), loadCatalogue()]);
  } catch (error) {
    return say(`${sentenceOf(error)} Reload the page to try again.`);
  } finally {
    $("boot").hidden = true;
  }
  markShelf = shelf(catalogue, toggle);
  $("presets").append(
    ...catalogue.presets.map(({ name, films }) =>
      element("button", { class: "chip", "data-films": films, onclick: () => choose(films) }, name)),
  );
  $("clear").addEventListener("click", () => choose([]));
  $("copy").addEventListener("click", copyLink);
  $("start-button").addEventListener("click", start);
  $("failure").querySelector("button").addEventListener("click", start);
  $("short").querySelector("button").addEventListener("click", fillUp);
  describe();
  for (const id of ["yours", "ten", "catalogue"]) $(id).hidden = false;
  addEventListener("hashchange", followLink);
  followLink();
  watchTen();
}

// ------------------------------------------------------------------ the selection

/** The reader's new selection; the first one also starts the recommender. */
function choose(ids) {
  say("");
  if (ids.length > most()) return say(`A selection holds ${most()} films at most: remove one first.`);
  select(ids);
  writeLink(manifest.data_set.name, picked);
  if (picked.length && !loading && $("failure").hidden) start();
}

const most = () => Math.min(MOST, manifest.model.window);
const asked = () => Math.min(ASKED, most());

function toggle(id) {
  choose(picked.includes(id) ? picked.filter((other) => other !== id) : [...picked, id]);
}

function select(ids) {
  picked = [...ids];
  const films = picked.map((id) => catalogue.byId.get(id));
  showPicks(films, catalogue, asked());
  markShelf(picked);
  for (const chip of $("presets").children) {
    chip.setAttribute("aria-pressed", String(chip.dataset.films === picked.join(",")));
  }
  $("clear").hidden = $("copy").hidden = !picked.length;
  $("short").hidden = !films.length || films.length >= asked();
  $("short").querySelector("p").textContent =
    `${COUNTS[films.length]} little: the model reads up to ${manifest.model.window}, and ${asked()} tell it more.`;
  recommend();
}

/** A link that somebody sent: its films are shown, nothing large is loaded before it is wanted. */
function followLink() {
  const link = readLink();
  const { name } = manifest.data_set;
  if (location.hash && !link) say("The link holds no selection that this page can read. Pick films below.");
  else if (link && link.dataSet !== name) {
    say(`The link belongs to another catalogue (${link.dataSet}); this page shows ${name}. Pick films below.`);
  } else if (link) {
    const known = link.ids.filter((id) => catalogue.byId.has(id)).slice(0, most());
    const lost = link.ids.length - known.length;
    say(lost ? `${lost} of the link's ${link.ids.length} films could not be shown and were left out.` : "");
    return select(known);
  }
  select([]);
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    $("copy").textContent = "Copied";
  } catch {
    say("The browser did not allow it: copy the link from the address bar.");
  }
  setTimeout(() => ($("copy").textContent = "Copy link"), 1500);
}

// ------------------------------------------------------------------ the model

function start() {
  if (loading) return loading;
  $("failure").hidden = true;
  $("start").hidden = false;
  $("start-button").hidden = true;
  $("progress").value = 0;
  $("progress").hidden = false;
  $("start-text").textContent = "Loading the model …";
  loading = loadModel(manifest, (share) => ($("progress").value = share))
    .then((ready) => {
      model = ready;
      $("start").hidden = true;
      return recommend();
    })
    .catch(fail);
  return loading;
}

function fail(error) {
  loading = model = null;
  $("start").hidden = true;
  $("failure").hidden = false;
  $("failure").querySelector("p").textContent = sentenceOf(error);
  showTen([], catalogue, picked);
  ready("failed");
}

/** Shows the ten for the selection as it is; when it changes meanwhile, once more. */
async function recommend() {
  stale = true;
  if (!model || busy) return invite();
  busy = true;
  try {
    while (stale) {
      stale = false;
      const history = picked.map((id) => catalogue.byId.get(id).token);
      const found = history.length ? await model.recommend(history) : [];
      if (stale) continue;
      const ten = found.map(({ token, probability }) => ({
        film: catalogue.byToken.get(token),
        probability,
      }));
      showTen(ten, catalogue, picked);
      peek(ten[0]);
    }
    invite();
    ready(picked.join(","));
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
  }
}

/** Adds the most probable film until there are as many as the page asks for. */
async function fillUp() {
  if (!model) await start();
  while (model && picked.length < asked()) {
    const [best] = await model.recommend(picked.map((id) => catalogue.byId.get(id).token), 1);
    picked = [...picked, catalogue.byToken.get(best.token).id];
  }
  choose(picked);
}

// ------------------------------------------------------------------ words

function describe() {
  const { data_set: data, model: file, runtime } = manifest;
  $("source").textContent = data.name === "sample"
    ? "The films are invented. The licence of MovieLens-1M, on which the series' model is trained, does not " +
      "allow its films to be published again; with a copy of your own, “make demo” builds this page on it."
    : `Built on ${data.title}. ` +
      (data.may_be_published ? "" : "For this machine only: the licence of MovieLens forbids redistribution.");
  $("numbers").textContent = `${data.films.toLocaleString("en")} films; the model reads up to ${file.window} of yours; ` +
    `ONNX opset ${file.opset}, ${megabytes(file.bytes)}` +
    (runtime ? `, run by ${runtime.name} ${runtime.version}.` : ".");
}

/** The empty state, in place of recommendations. */
function invite() {
  if ($("failure").hidden === false || (loading && !model)) return;
  $("start").hidden = Boolean(model && picked.length);
  $("start-button").hidden = Boolean(model);
  $("progress").hidden = true;
  $("start-text").textContent = model
    ? "Pick a film, or one of the ready-made histories, and ten recommendations appear here."
    : (picked.length ? "Your films are there. " : "Pick a film, or one of the ready-made histories. ") +
      `The recommender is loaded once, ${megabytes(downloadSize(manifest))}.`;
}

function say(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

const sentenceOf = (error) =>
  error instanceof Failure ? error.message : `Something went wrong (${error.message}).`;

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)}\u00a0MB`;

/** For tests, and for whoever reads along in the developer tools: which selection is shown. */
function ready(selection) {
  $("ten").dataset.ready = selection;
}

// ------------------------------------------------------------------ small screens

let tenInSight = true;

/** The first recommendation, at the edge of a screen on which the ten are out of sight. */
function peek(best) {
  $("peek").replaceChildren(
    ...(best ? ["Next: ", element("b", {}, best.film.name), ` ${percent(best.probability)} · all ten`] : []),
  );
  $("peek").hidden = tenInSight || !best;
}

function watchTen() {
  const button = $("peek");
  button.addEventListener("click", () => $("ten-title").scrollIntoView());
  new IntersectionObserver(([entry]) => {
    tenInSight = entry.isIntersecting;
    button.hidden = tenInSight || !button.textContent;
  }).observe($("ten"));
}

open();
