// The ten recommendations, and what the last change did to them.

import { $, arrange, element, listed } from "./dom.js";

/**
 * Compares two lists of movie ids, best first.
 * @returns {{moves: Map<number, number|"new">, left: {id: number, place: number}[]}}
 *   moves: places won (positive) or lost; left: who is gone, with the place it had
 */
export function compareTens(before, now) {
  const moves = new Map(
    now.map((id, place) => [id, before.includes(id) ? before.indexOf(id) - place : "new"]),
  );
  const left = before
    .map((id, place) => ({ id, place: place + 1 }))
    .filter(({ id }) => !now.includes(id));
  return { moves, left };
}

/**
 * @param {(id: number) => void} onPick the reader takes a recommendation
 * @returns shows recommendations: [{film, probability}], best first; an empty list clears
 */
export function tenList(onPick) {
  const list = $("recommendations");
  let items = new Map();
  let before = [];

  list.addEventListener("click", (event) => {
    const button = event.target.closest(".add");
    if (button) onPick(Number(button.parentElement.dataset.id));
  });

  return function show(ten, catalogue, picked) {
    const now = ten.map(({ film }) => film.id);
    const { moves, left } = compareTens(before, now);
    const first = before.length === 0;
    const old = items;
    items = new Map(ten.map(({ film }) => [film.id, old.get(film.id) ?? recommendation(film, catalogue)]));
    ten.forEach(({ film, probability }) => {
      const item = items.get(film.id);
      item.querySelector(".percent").textContent = percent(probability);
      item.querySelector(".bar").style.setProperty("--share", probability / ten[0].probability);
      item.dataset.probability = probability;
      setBadge(item.querySelector(".badge"), first ? 0 : moves.get(film.id));
    });
    arrange(list, [...items.values()]);
    const gone = first || !now.length ? [] : left.filter(({ id }) => !picked.includes(id));
    $("left").textContent = gone.length
      ? `Left the ten: ${listed(gone.map(({ id, place }) => `${catalogue.byId.get(id).name} (was ${place})`))}.`
      : "";
    $("summary").textContent = ten.length ? sentence(ten[0], first ? null : moves, gone.length) : "";
    before = now;
  };
}

function recommendation(film, catalogue) {
  return element(
    "li",
    { "data-id": film.id },
    element(
      "button",
      { type: "button", class: "film", "data-id": film.id },
      catalogue.card(film),
      element("span", { class: "name" }, film.name),
    ),
    element("p", { class: "odds" }, element("b", { class: "percent" }), element("span", { class: "badge" })),
    element("span", { class: "bar" }),
    element("button", { type: "button", class: "add", "aria-label": `Add to your films: ${film.name}`, title: "Add to your films" }, "+"),
  );
}

function setBadge(badge, move) {
  const [kind, text, words] =
    move === "new" ? ["new", "new", "entered"]
    : move > 0 ? ["up", `▲ ${move}`, `up ${move}`]
    : move < 0 ? ["down", `▼ ${-move}`, `down ${-move}`]
    : ["", "", ""];
  badge.className = `badge ${kind}`;
  badge.replaceChildren(
    element("span", { "aria-hidden": "true" }, text),
    element("span", { class: "spoken" }, words && `, ${words}`),
  );
}

function sentence(best, moves, gone) {
  const head = `First: ${best.film.name}, ${percent(best.probability)}.`;
  if (!moves) return head;
  const values = [...moves.values()];
  const counts = [
    [values.filter((move) => move === "new").length, "new"],
    [values.filter((move) => move > 0).length, "up"],
    [values.filter((move) => move < 0).length, "down"],
    [gone, "left"],
  ];
  const changes = counts.filter(([n]) => n).map(([n, word]) => `${n} ${word}`);
  return `${head} ${changes.length ? `Changed: ${changes.join(", ")}.` : "Nothing changed places."}`;
}

export function percent(probability) {
  const value = 100 * probability;
  return value < 0.1 ? "<\u00a00.1\u00a0%" : `${value.toFixed(value < 10 ? 1 : 0)}\u00a0%`;
}
