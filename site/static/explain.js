// Explanations to play with, each below the picture of its post: the picture stays, and is all there is
// where scripts are off. Their data is made by tools/explain.py.

import { element } from "../demo/dom.js";

const number = /\/(\d\d)-[^/]*$/.exec(location.pathname)[1];
const data = await (await fetch(new URL(`explain/${number}.json`, import.meta.url))).json();

/** The box below the picture whose alternative text begins so, or at the end of a section. */
function box(place, title, ...parts) {
  const after = document.querySelector(`img[alt^="${place}"], [aria-label^="${place}"]`)?.closest(".cell") ??
    document.getElementById(place)?.closest("section")?.lastElementChild;
  const made = element("div", { class: "play", role: "group", "aria-label": title }, element("p", { class: "play-title" }, title), ...parts);
  after?.after(made);
  return made;
}

/** A labelled slider that calls back with its value, now and at each change. */
function slider(label, { min, max, step = 1, value }, tell) {
  const input = element("input", { type: "range", min, max, step, value });
  const made = element("label", {}, element("span", {}, label), input);
  input.addEventListener("input", () => tell(Number(input.value)));
  return made;
}

function choice(label, names, tell) {
  const made = element("select", {}, ...names.map((name, i) => element("option", { value: i }, name)));
  made.addEventListener("input", () => tell(Number(made.value)));
  return element("label", {}, element("span", {}, label), made);
}

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;

function softmax(scores) {
  const largest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** Rows with a name, a bar and words; `set` changes bar and words of one. */
function bars(names) {
  const rows = names.map((name) => element("tr", {}, element("th", { scope: "row" }, name),
    element("td", {}, element("span", { class: "play-bar" })), element("td", { class: "number" })));
  return {
    table: element("table", { class: "play-bars" }, element("tbody", {}, ...rows)),
    rows,
    set(i, share, words) {
      rows[i].querySelector(".play-bar").style.setProperty("--share", share);
      rows[i].lastElementChild.textContent = words;
    },
  };
}

// ------------------------------------------------------------------ 04: attention and its mask

function attention(place, title, { names, scores, divisor }, isToy) {
  let [block, head, masked, picked] = [0, 0, true, names.length - 1];
  const said = element("p", { role: "status" });
  const table = element("table", { class: "play-weights" });
  const tick = element("input", { type: "checkbox", checked: true });
  tick.addEventListener("input", () => show((masked = tick.checked)));
  const controls = element("div", { class: "play-controls" },
    element("label", { class: "tick" }, tick, element("span", {}, "mask the future")),
    ...(isToy
      ? [slider("divide the scores by", { min: 0.5, max: 8, step: 0.5, value: divisor }, (value) => show((divisor = value)))]
      : [choice("block", scores.map((_, i) => String(i + 1)), (value) => show((block = value))),
        choice("head", scores[0].map((_, i) => String(i + 1)), (value) => show((head = value)))]));

  function show() {
    const weights = scores[block][head].map((row, i) =>
      softmax(row.map((score, j) => (masked && j > i ? -Infinity : score / divisor))));
    const focused = table.contains(document.activeElement);
    table.replaceChildren(
      element("thead", {}, element("tr", {}, element("td", {}), ...names.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...weights.map((row, i) => {
        const button = element("button", { type: "button", "aria-pressed": String(i === picked), onclick: () => show((picked = i)) }, names[i]);
        const cells = row.map((weight, j) => {
          const cell = element("td", masked && j > i ? { class: "masked" } : {}, masked && j > i ? "–" : weight.toFixed(2));
          cell.style.setProperty("--share", weight);
          return cell;
        });
        return element("tr", { onpointerenter: () => tell(i, row) }, element("th", { scope: "row" }, button), ...cells);
      })));
    if (focused) table.querySelectorAll("button")[picked].focus();
    tell(picked, weights[picked]);
  }

  function tell(i, row) {
    const parts = row.map((weight, j) => [weight, names[j]]).filter(([weight]) => weight >= 0.005)
      .map(([weight, name]) => `${percent(weight)} from ${name}`);
    const future = row.slice(i + 1).reduce((a, b) => a + b, 0);
    said.textContent = `${names[i]} takes ${parts.join(", ")}.` +
      (future > 0.005 ? ` ${percent(future)} is from films that come later: what the mask forbids.` : "");
  }

  box(place, title, controls, element("div", { class: "table-box" }, table), said);
  show();
}

// ------------------------------------------------------------------ 07: temperature, and the map

function temperature({ films, names, scores }) {
  const { table, set } = bars(names);
  const said = element("p", { role: "status" });
  const show = (power) => {
    const heat = 10 ** power;
    const shares = softmax(scores.map((score) => score / heat));
    names.forEach((_, i) => set(i, shares[i], percent(shares[i], 1)));
    const ten = shares.slice(0, 10).reduce((a, b) => a + b, 0);
    const undecided = Math.exp(-shares.reduce((sum, share) => sum + (share > 0 ? share * Math.log(share) : 0), 0));
    // The five films themselves are among all, and are left out of the list.
    said.textContent = `Temperature ${heat.toFixed(2)}: the first has ${percent(shares[0], 1)}, the ten have ${percent(ten)} together, and the ` +
      `model is as undecided as among ${undecided.toFixed(1)} films. The order stays the same.`;
  };
  box("from-scores-to-the-next-movie", `Play: divide the scores by a temperature before the softmax (invented films, after ${films.join(", ")})`,
    element("div", { class: "play-controls" }, slider("temperature, from 0.1 to 10", { min: -1, max: 1, step: 0.02, value: 0 }, show)), table, said);
  show(0);
}

const SVG = "http://www.w3.org/2000/svg";

function shape(svg, name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  svg.append(made);
  return made;
}

const COLORS = ["#2b6cb0", "#b45f06", "#0f7b6c", "#7b5ea7", "#c0392b", "#3f7fa6", "#7a5c00", "#a83a75"];
const OTHER = "currentColor"; // the quiet one of explain.css

function map({ films }) {
  const [width, height] = [640, 440];
  const spot = ([, , x, y]) => [12 + x * (width - 24), 12 + y * (height - 24)];
  const counts = new Map();
  for (const [, genre] of films) counts.set(genre, (counts.get(genre) ?? 0) + 1);
  const frequent = [...counts].sort((a, b) => b[1] - a[1]).slice(0, COLORS.length).map(([genre]) => genre);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-hidden", "true");
  const marks = films.map((film) => {
    const [cx, cy] = spot(film);
    return shape(svg, "circle", { cx, cy, r: 4, fill: COLORS[frequent.indexOf(film[1])] ?? OTHER });
  });
  const lines = shape(svg, "path", { class: "play-lines" });
  const list = element("datalist", { id: "play-films" }, ...films.map(([name]) => element("option", { value: name })));
  const input = element("input", { type: "search", list: "play-films", placeholder: "a title" });
  const said = element("p", { role: "status" });
  const near = element("div", { class: "play-controls" });

  function show(i) {
    const [name, genre, , , nearest] = films[i];
    const [x, y] = spot(films[i]);
    lines.setAttribute("d", nearest.map((other) => `M${x} ${y}L${spot(films[other]).join(" ")}`).join(""));
    marks.forEach((mark, j) => mark.setAttribute("class", j === i ? "here" : nearest.includes(j) ? "near" : ""));
    const same = nearest.filter((other) => films[other][1] === genre).length;
    said.replaceChildren(element("b", {}, name), ` (${genre}): ${same} of its ${nearest.length} nearest are ${genre}, too. Go on to:`);
    const focused = near.contains(document.activeElement);
    near.replaceChildren(...nearest.map((other) =>
      element("button", { type: "button", onclick: () => show(other) }, films[other][0])));
    if (focused) near.firstElementChild.focus();
  }
  const nearestTo = (event) => {
    const frame = svg.getBoundingClientRect();
    const [x, y] = [((event.clientX - frame.left) / frame.width) * width, ((event.clientY - frame.top) / frame.height) * height];
    const away = films.map((film) => Math.hypot(spot(film)[0] - x, spot(film)[1] - y));
    return away.indexOf(Math.min(...away));
  };
  for (const kind of ["pointermove", "click"]) svg.addEventListener(kind, (event) => show(nearestTo(event)));
  input.addEventListener("input", () => {
    const found = films.findIndex(([name]) => name.toLowerCase() === input.value.trim().toLowerCase());
    if (found >= 0) show(found);
  });
  const key = [...frequent, "other"].map((genre, i) => {
    const dot = element("span", { class: "play-dot" });
    if (COLORS[i]) dot.style.background = COLORS[i];
    return element("span", {}, dot, genre);
  });
  box("A map of the most watched movies", "Play: the same kind of map for the invented films of the recommender; point at a mark, or name a film",
    element("div", { class: "play-controls" }, element("label", {}, element("span", {}, "film"), input), list),
    svg, element("p", { class: "play-key" }, ...key), said, near);
  show(0);
}

// ------------------------------------------------------------------ 08: a hundred negatives

/** The chance that a target with so many films above it is among the first ten of a drawn list. */
function chance(above, films, drawn) {
  // Hypergeometric: of `films` candidates `above` are better, `drawn` are drawn; at most nine of them better.
  const logs = chance.logs ??= [0];
  while (logs.length <= films) logs.push(logs.at(-1) + Math.log(logs.length));
  const choose = (n, k) => (k < 0 || k > n ? -Infinity : logs[n] - logs[k] - logs[n - k]);
  let sum = 0;
  for (let better = 0; better < 10; better++) {
    sum += Math.exp(choose(above, better) + choose(films - above, drawn - better) - choose(films, drawn));
  }
  return Math.min(1, sum);
}

function sampled({ films, places }) {
  const models = Object.entries(places);
  const rate = ([, counts], drawn) => {
    const users = counts.reduce((a, b) => a + b, 0);
    return counts.reduce((sum, count, above) => sum + (count ? count * chance(above, films - 1, drawn) : 0), 0) / users;
  };
  const all = models.map((model) => rate(model, films - 1));
  const order = [...models.keys()].sort((a, b) => all[b] - all[a]);
  const { table, set, rows } = bars(order.map((i) => models[i][0]));
  const said = element("p", { role: "status" });
  const show = (left) => {
    const drawn = films - left; // the slider goes from all films to ten
    const rates = order.map((i) => rate(models[i], drawn));
    const sorted = [...rates].sort((a, b) => b - a);
    rates.forEach((value, i) => {
      const place = sorted.indexOf(value);
      set(i, value, `${value.toFixed(3)}${place === i ? "" : ` (now ${place + 1}.)`}`);
      rows[i].classList.toggle("moved", place !== i);
    });
    const moved = rates.filter((value, i) => sorted.indexOf(value) !== i).length;
    said.textContent = `${drawn === films - 1 ? `All ${drawn}` : drawn} negatives: hit rates from ${Math.min(...rates).toFixed(2)} to ` +
      `${Math.max(...rates).toFixed(2)}; ${moved ? `${moved} of ${rates.length} models are not where they stand among all films` : "the order is that among all films"}.`;
  };
  box("Left: the probability to count as a hit among 100", "Play: hit rate at ten against ever fewer negatives (invented sample, in the order among all films)",
    element("div", { class: "play-controls" },
      slider(`from all ${films - 1} films to ten negatives`, { min: 1, max: films - 10, value: films - 100 }, show)), table, said);
  show(films - 100);
}

// ------------------------------------------------------------------ 10: the staircase

function staircase(steps) {
  const [low, high] = [0.14, 0.21];
  const at = (value) => `${(100 * (value - low)) / (high - low)}%`;
  const said = element("p", { role: "status" });
  const rows = steps.map((step, i) => {
    const track = element("span", { class: "play-track", "aria-hidden": "true" });
    const part = (name, left, right = left) => {
      const made = element("span", { class: name });
      made.style.left = at(left);
      made.style.width = `calc(${at(right)} - ${at(left)})`;
      track.append(made);
    };
    part("rise", low, step.value);
    if (step.interval) part("interval", ...step.interval);
    if (step.seeds.length > 1) step.seeds.forEach((seed) => part("seed", seed));
    const button = element("button", { type: "button", onclick: () => show(i) }, step.name);
    return element("tr", {}, element("th", { scope: "row" }, button), element("td", {}, track), element("td", { class: "number" }));
  });

  function show(base) {
    steps.forEach(({ value }, i) => {
      const gain = value - steps[base].value;
      rows[i].lastElementChild.textContent = i === base ? value.toFixed(4) : `${gain > 0 ? "+" : "−"}${Math.abs(gain).toFixed(4)}`;
      rows[i].querySelector("button").setAttribute("aria-pressed", String(i === base));
    });
    const { name, value, interval } = steps[base];
    const apart = steps.filter((step) => interval && step.interval &&
      (step.interval[0] > interval[1] || step.interval[1] < interval[0])).map((step) => step.name);
    said.textContent = `Against “${name}” (${value.toFixed(4)}). ` + (interval
      ? `Its interval over the users is ${interval[0].toFixed(4)} to ${interval[1].toFixed(4)}; ` +
        (apart.length ? `clear of it: ${apart.join("; ")}. ` : "none of the others with one is clear of it. ")
      : "No interval is stored for it. ") +
      "Intervals that overlap do not make two models equal: that takes the paired test of notebook 08.";
  }

  box("For each step from a target", "Play: choose a step, and every other is measured against it",
    element("div", { class: "table-box" }, element("table", { class: "play-bars stairs" }, element("tbody", {}, ...rows))),
    element("p", { class: "play-key" }, "Ties in random order. Bars from .14 to .21; the line is the 95 % interval over the users where one is stored, dots are the seeds."), said);
  show(0);
}

// ------------------------------------------------------------------ 12: how much to explore

function exploration({ shares, runs, thompson, table }) {
  const line = ({ values }) => values.map((value, i) => `${i ? "L" : "M"}${i + 1} ${-value}`).join("");
  const high = 1.2;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `1 ${-high} ${thompson.values.length - 1} ${high}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const marks = [0, 0.5, 1].map((value) => {
    const mark = element("span", {}, String(value));
    mark.style.bottom = `${(100 * value) / high}%`;
    shape(svg, "path", { class: "rule", d: `M1 ${-value}H40` });
    return mark;
  });
  for (const run of runs) shape(svg, "path", { d: line(run) });
  shape(svg, "path", { class: "limit", d: `M1 ${-table}H40` });
  shape(svg, "path", { class: "rival", d: line(thompson) });
  const curve = shape(svg, "path", { class: "here" });

  const most = Math.log1p(Math.max(...[...runs, thompson].flatMap(({ looks }) => looks)));
  const grid = () => element("div", { class: "play-films", "aria-hidden": "true" }, ...thompson.looks.map(() => element("span")));
  const light = (films, { looks }) =>
    looks.forEach((count, i) => films.children[i].style.setProperty("--share", Math.log1p(count) / most));
  const words = ({ values, shown, dark, looks }) =>
    ` ${(values.slice(-10).reduce((a, b) => a + b) / 10).toFixed(2)} picks a page; ${shown} of ${looks.length} films shown in the last round; ` +
    `${percent(dark)} of the hundred best films without a look.`;
  const [films, others] = [grid(), grid()];
  const said = element("p", { role: "status" });
  const control = slider("visitors who get a random page, from none to all", { min: 0, max: shares.length - 1, value: 3 }, (i) => show(i));

  function show(i) {
    const name = `${percent(shares[i])} random pages:`;
    control.lastElementChild.setAttribute("aria-valuetext", percent(shares[i]));
    curve.setAttribute("d", line(runs[i]));
    light(films, runs[i]);
    said.replaceChildren(element("b", {}, name), words(runs[i]));
  }
  light(others, thompson);

  const key = (kind, name) => element("span", {}, element("span", { class: `play-line ${kind}` }), name);
  box("Two dark panels, greedy and Thompson sampling", "Play: from greedy, without random pages, to a random page for everybody",
    element("div", { class: "play-controls" }, control),
    element("div", { class: "play-plot", "aria-hidden": "true" }, svg, ...marks),
    element("p", { class: "play-key" }, "Expected picks a page, rounds 1 to 40:", key("here", "the chosen share"),
      key("rival", "Thompson sampling"), key("limit", "the true table by genre")),
    element("div", { class: "play-pair" }, element("div", {}, said, films),
      element("div", {}, element("p", {}, element("b", {}, "Thompson sampling:"), words(thompson)), others)),
    element("p", { class: "play-key" }, "Each square is a film, the truly best at the top left, a gap after the hundred best. The more looks in " +
      "the last ten rounds, the brighter; black: none (seed 0). Picks and missing looks are of the last ten rounds, too; numbers and curves are means of three of the ten seeds."));
  show(3);
}

// ------------------------------------------------------------------ 13: the ratings of a film, hidden

function hiding({ budgets, kinds, ahead }) {
  const { table, set } = bars(kinds.map(({ name }) => name));
  const said = element("p", { role: "status" });
  const left = budgets.toReversed();
  const control = slider(`ratings of the new film that are hidden: all but ${left[0]}, … , all`, { min: 0, max: left.length - 1, value: 0 }, (i) => show(i));

  function show(i) {
    const budget = budgets.indexOf(left[i]);
    const [number, features] = kinds.map(({ beaten }) => beaten[budget]);
    kinds.forEach(({ beaten, draws }, row) =>
      set(row, beaten[budget], `${beaten[budget].toFixed(3)} (${draws[budget].map((draw) => draw.toFixed(2)).join(", ")})`));
    const rest = left[i] === 1 ? "One rating left" : `${left[i] || "No"} ratings left`;
    control.lastElementChild.setAttribute("aria-valuetext", rest);
    const [, low, high] = ahead[budget]; // the 95 % interval of the difference
    said.textContent = `${rest}: the right film beats ${percent(number)} of the other new films by its number alone, ` +
      `${percent(features)} by its features alone: ` +
      (low > 0 ? "the number is ahead, beyond chance." : high < 0 ? "the features are ahead, beyond chance." : "no difference beyond chance.");
  }
  box("Two panels over the number of ratings that a new film has", "Play: hide the ratings of a film and see what remains",
    element("div", { class: "play-controls" }, control), table,
    element("p", { class: "play-key" }, "Share of the other new films of the same budget that the film watched next beats; a guess beats one half. " +
      "MovieLens-1M, three draws of new films together (each by itself in brackets). Other films are new at each step, so even the last row moves a little."), said);
  show(0);
}

if (data.toy) {
  attention("Five small heat maps in a row", "Play: step 4 with and without the mask", data.toy, true);
  attention("Two heat maps of attention weights", "Play: a trained model reads five invented films; choose a block and a head", data.window, false);
}
if (data.map) {
  temperature(data.scores);
  map(data.map);
}
if (data.places) sampled(data);
if (data.stairs) staircase(data.stairs);
if (data.exploration) exploration(data.exploration);
if (data.hidden) hiding(data.hidden);
