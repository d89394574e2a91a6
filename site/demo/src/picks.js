// The reader's films in their order, and under each how much attention it gets.

import { $, arrange, element } from "./dom.js";
import { percent } from "./ten.js";

/**
 * @param {(id: number, places: number) => void} onMove by how many places
 * @param {(id: number) => void} onRemove
 * @returns {{show: Function, mark: Function, focus: Function}}
 */
export function picksList(onMove, onRemove) {
  const list = $("picks");
  let items = new Map(); // movie id -> its element, kept so that it can glide

  list.addEventListener("click", (event) => {
    const button = event.target.closest(".remove");
    if (button) onRemove(Number(button.parentElement.dataset.id));
  });
  list.addEventListener("keydown", (event) => {
    const id = Number(event.target.closest(".pick")?.dataset.id);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!id || (!step && event.key !== "Delete")) return;
    event.preventDefault();
    if (step) onMove(id, step);
    else onRemove(id);
  });

  return {
    /** Shows films in at least `slots` places. */
    show(films, catalogue, slots) {
      const focused = document.activeElement; // an element that is moved loses the focus
      const before = items;
      items = new Map(films.map((film) => [film.id, before.get(film.id) ?? pick(film, catalogue)]));
      const empty = Array.from({ length: Math.max(0, slots - films.length) }, (_, i) =>
        element("li", { class: "slot", "aria-hidden": "true" }, String(films.length + i + 1)));
      arrange(list, [...items.values(), ...empty]);
      if (list.contains(focused)) focused.focus();
    },
    /** The bars: a share for each film, or nothing while it is not known. The largest is a full bar. */
    mark(attention) {
      const most = Math.max(...attention ?? [1]);
      [...items.values()].forEach((item, place) => {
        const share = attention?.[place];
        item.querySelector(".bar").style.setProperty("--share", (share ?? 0) / most);
        item.querySelector(".share").textContent = share === undefined ? "\u00a0" : percent(share);
      });
    },
    /** The keyboard stays in the list: on this place, else on the last one. */
    focus(place) {
      ([...items.values()].at(Math.min(place, items.size - 1))?.querySelector(".film") ?? $("search")).focus();
    },
  };
}

function pick(film, catalogue) {
  return element(
    "li",
    { "data-id": film.id, class: "pick" },
    element(
      "button",
      { type: "button", class: "film", "data-id": film.id, "aria-keyshortcuts": "ArrowLeft ArrowRight Delete" },
      catalogue.card(film),
      element("span", { class: "name" }, film.name),
    ),
    element("p", { class: "odds" }, element("span", { class: "spoken" }, "Attention: "), element("span", { class: "share" })),
    element("span", { class: "bar" }),
    element("button", { type: "button", class: "remove", "aria-label": `Remove: ${film.name}`, title: "Remove" }, "✕"),
  );
}
