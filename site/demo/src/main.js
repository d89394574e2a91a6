// The recommender: what the reader picked, and what follows from it.

import { loadCatalogue } from "./catalogue.js";
import { $, afterPaint, element, glide } from "./dom.js";
import { Failure } from "./download.js";
import { dragging } from "./drag.js";
import { readLink, writeLink } from "./link.js";
import { loadModel } from "./model.js";
import { byTheModel, ownCatalogue } from "./own.js";
import { picksList } from "./picks.js";
import { shelf } from "./shelf.js";
import { percent, tenList } from "./ten.js";
import { whyPanel } from "./why.js";

const MOST = 30; // films in a selection, unless the model reads fewer
const ASKED = 5; // films that the page asks for
const KEPT = "recformer-movies"; // the reader's movies.dat, for as long as the tab is open

let built, catalogue, model; // `built`: the catalogue that the page came with
let picked = []; // movie ids, watched first to watched last
let near = null; // the promise of all cards
let loading = null; // the promise of the model, while and after it loads

const showPicks = picksList(moveBy, remove);
const showTen = tenList(toggle);
const films = shelf(toggle);
const showWhy = whyPanel({ add: toggle, remove, earlier: (id) => moveBy(id, -1), later: (id) => moveBy(id, 1) });

async function open() {
  try {
    built = await loadCatalogue(cardsOnThePage);
  } catch (error) {
    return say(`${sentenceOf(error)} Reload the page to try again.`);
  }
  $("clear").addEventListener("click", () => choose([]));
  $("copy").addEventListener("click", copyLink);
  $("failure").querySelector("button").addEventListener("click", () => {
    $("failure").hidden = true;
    select(picked);
  });
  for (const kind of ["pointerover", "focusin"]) {
    $("demo").addEventListener(kind, () => comeNear().catch(fail), { once: true });
  }
  $("own").querySelector("input").addEventListener("change", ({ target }) => {
    openOwn(target.files[0]);
    target.value = "";
  });
  dragging($("demo"), $("picks"), (id, place) => {
    const left = picked.filter((other) => other !== id);
    choose([...left.slice(0, place), id, ...left.slice(place)]);
  });
  for (const kind of ["dragover", "drop"]) {
    addEventListener(kind, (event) => {
      if (!built.own || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (kind === "drop") openOwn(event.dataTransfer.files[0]);
    });
  }
  show(built);
  addEventListener("hashchange", followLink);
  await reopen();
  followLink();
  // The cards of the films below are the largest file: they wait for what the page itself needs.
  if (document.readyState !== "complete") {
    await new Promise((loaded) => addEventListener("load", loaded, { once: true }));
  }
  watchTen();
}

/** The cards that the build has drawn for what the page opens with. */
function cardsOnThePage({ films, start }) {
  const ten = start.answer.ten.map(([token]) => films.find((film) => film.token === token).id);
  const cards = document.querySelectorAll("#picks .card, #recommendations .card");
  return new Map([...start.films, ...ten].map((id, i) => [id, cards[i]]));
}

/** The cards of all other films, when somebody comes near: with them the catalogue can be shown. */
function comeNear() {
  near ??= built.loadCards().then(() => {
    films.open(catalogue);
    films.mark(picked);
  }, (error) => {
    near = null;
    throw error;
  });
  return near;
}

/** Another catalogue takes the place of the one that is shown, and with it another model. */
function show(another) {
  catalogue = another;
  model = loading = null;
  picked = [];
  if (built.cards) films.open(catalogue);
  $("presets").replaceChildren(
    ...catalogue.presets.map(({ name, films }) =>
      element("button", { type: "button", class: "chip", "data-films": films, onclick: () => choose(films) }, name)),
  );
  if (!catalogue.own) {
    $("about").textContent = `${catalogue.films.length.toLocaleString("en")} films of ${catalogue.dataSet.title}. ` +
      "Nothing that you open or pick leaves your browser; the licence of MovieLens forbids to pass its films on.";
    display(); // nothing of the other catalogue stays: its ids are other films
  }
}

// ------------------------------------------------------------------ the selection

/** The reader's new selection. */
function choose(ids) {
  say("");
  if (ids.length > most()) return say(`A selection holds ${most()} films at most: remove one first.`);
  select(ids);
  const { name } = catalogue.dataSet;
  afterPaint(() => writeLink(name, ids)); // browsers take their time for an entry of the history
}

const most = () => Math.min(MOST, catalogue.model.window);

function toggle(id) {
  choose(picked.includes(id) ? picked.filter((other) => other !== id) : [...picked, id]);
}

function remove(id) {
  const place = picked.indexOf(id);
  choose(picked.filter((other) => other !== id));
  showPicks.focus(place);
}

function moveBy(id, places) {
  const from = picked.indexOf(id);
  const to = from + places;
  if (to < 0 || to >= picked.length) return;
  const order = picked.filter((other) => other !== id);
  choose([...order.slice(0, to), id, ...order.slice(to)]);
}

function select(ids) {
  picked = [...ids];
  // What the page opens with needs no other cards.
  if (built.cards || String(ids) === String(built.start.films)) display();
  else comeNear().then(display, fail);
}

function display() {
  glide($("picks"), $("recommendations"));
  showPicks.show(picked.map((id) => catalogue.byId.get(id)), catalogue, Math.min(ASKED, most()));
  films.mark(picked);
  for (const chip of $("presets").children) {
    chip.setAttribute("aria-pressed", String(chip.dataset.films === picked.join(",")));
  }
  $("clear").disabled = $("copy").disabled = !picked.length;
  recommend();
}

/** The selection of the address: of a link that somebody sent, or one that Back leads to. */
function followLink() {
  const link = readLink();
  const { name } = catalogue.dataSet;
  if (!link && location.hash.includes("=")) say("The link holds no selection that this page can read. Pick films below.");
  else if (link && link.dataSet !== name) {
    say(link.dataSet === "ml-1m" && built.own
      ? "This list is of MovieLens-1M, whose catalogue may not be put online: open your copy of it, and the list appears."
      : `The link belongs to another catalogue (${link.dataSet}); this page shows ${name}. Pick films below.`);
  } else if (link) {
    const known = link.ids.filter((id) => catalogue.byId.has(id)).slice(0, most());
    const lost = link.ids.length - known.length;
    say(lost ? `${lost} of the link's ${link.ids.length} films could not be shown and were left out.` : "");
    return select(known);
  } else if (location.hash && picked.length) return; // a link to another part of the page
  select(catalogue.start?.films ?? catalogue.presets[0].films);
}

async function copyLink() {
  try {
    writeLink(catalogue.dataSet.name, picked);
    await navigator.clipboard.writeText(location.href);
    $("copy").textContent = "Copied";
  } catch {
    say("The browser did not allow it: copy the link from the address bar.");
  }
  setTimeout(() => ($("copy").textContent = "Copy link"), 1500);
}

// ------------------------------------------------------------------ MovieLens-1M

async function openOwn(file) {
  if (!file) return;
  try {
    await comeNear();
    const own = await ownCatalogue(file, built);
    show(own);
    await start();
    if (!model) return;
    films.open(own);
    say("");
    followLink();
    keep(own);
  } catch (error) {
    say(sentenceOf(error));
  }
}

/** For a reload of the page: MovieLens stays in this tab of this browser. */
function keep({ source }) {
  try {
    sessionStorage.setItem(KEPT, source);
  } catch {
    // Storage may be full or forbidden; then the file is opened again.
  }
}

async function reopen() {
  let source = null;
  try {
    source = sessionStorage.getItem(KEPT);
  } catch {
    // As above.
  }
  if (source && readLink()?.dataSet !== built.dataSet.name) {
    await openOwn(new Blob([Uint8Array.from(source, (letter) => letter.charCodeAt(0))]));
  }
}

// ------------------------------------------------------------------ the model

/** Loads the model, once; what was picked meanwhile is recommended for then. */
function start() {
  if (loading) return loading;
  const wanted = catalogue;
  $("failure").hidden = true;
  $("progress").value = 0;
  $("progress").hidden = false;
  $("summary").textContent = `Loading the model, ${(wanted.model.bytes / 1e6).toFixed(1)}\u00a0MB …`;
  loading = loadModel(wanted.model, (share) => ($("progress").value = share), wanted.features)
    .then((ready) => {
      if (catalogue !== wanted) return;
      model = ready;
      if (wanted.source) byTheModel(wanted, model); // before anything that was picked meanwhile is answered
      $("progress").hidden = true;
      recommend();
    })
    .catch((error) => catalogue === wanted && fail(error));
  return loading;
}

function fail(error) {
  loading = model = null;
  $("progress").hidden = true;
  $("summary").textContent = "";
  $("failure").hidden = false;
  $("failure").querySelector("p").textContent = sentenceOf(error);
  present(null);
  ready("failed");
}

/** Shows the ten for the selection as it is: at once, or when the model has come. */
function recommend() {
  const known = catalogue.start;
  const history = picked.map((id) => catalogue.byId.get(id).token);
  $("recommendations").classList.remove("stale");
  if (!picked.length) present(null);
  else if (model) present(model.answer(history));
  else if (known && String(picked) === String(known.films)) {
    present({ ...known.answer, without: (place) => known.answer.without[place] });
  } else {
    showPicks.mark(null);
    showWhy.show(null, [], catalogue);
    $("recommendations").classList.add("stale");
    if ($("failure").hidden) start();
    return;
  }
  ready(picked.join(","));
}

function present(answer) {
  glide($("picks"), $("recommendations"));
  const ten = (answer?.ten ?? []).map(([token, probability]) => ({ film: catalogue.byToken.get(token), probability }));
  showTen(ten, catalogue, picked);
  showPicks.mark(answer?.attention);
  showWhy.show(answer && { ...answer, ten }, picked.map((id) => catalogue.byId.get(id)), catalogue);
  peek(ten[0]);
}

// ------------------------------------------------------------------ words

function say(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

const sentenceOf = (error) =>
  error instanceof Failure ? error.message : `Something went wrong (${error.message}).`;

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

/** While the catalogue is in sight and the ten are not. */
function watchTen() {
  const seen = new Map();
  const button = $("peek");
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) seen.set(target.id, isIntersecting);
    tenInSight = seen.get("recommendations") || !seen.get("catalogue");
    if (seen.get("catalogue")) comeNear().catch(fail);
    button.hidden = tenInSight || !button.textContent;
  }, { rootMargin: "0px 0px -150px" });
  watch.observe($("recommendations"));
  watch.observe($("catalogue"));
  button.addEventListener("click", () => $("ten-title").scrollIntoView());
}

open();
