// The reader's films as a list that can be put in order: by dragging, or with buttons.

import { $, element, glide } from "./dom.js";

/**
 * @param {(films: number[]) => void} onChange gets the new order, or the films that are left
 * @returns shows films in at least `slots` places
 */
export function picksList(onChange) {
  const list = $("picks");
  const items = new Map(); // movie id -> its element, kept so that it can glide
  let order = [];

  list.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-do]");
    if (!button || button.getAttribute("aria-disabled")) return;
    const from = order.indexOf(Number(button.closest("li").dataset.id));
    const step = { earlier: -1, later: 1 }[button.dataset.do];
    if (step) return moved(from, from + step);
    onChange(order.filter((_, place) => place !== from));
    // The keyboard stays in the list: on the film that took the place, else on the one before.
    const next = items.get(order[Math.min(from, order.length - 1)]);
    (next?.querySelector("[data-do=remove]") ?? $("search")).focus();
  });

  function moved(from, to) {
    if (to < 0 || to >= order.length || to === from) return;
    const focused = document.activeElement; // an element that is moved loses the focus
    const next = [...order];
    next.splice(to, 0, ...next.splice(from, 1));
    onChange(next);
    if (list.contains(focused)) focused.focus();
  }

  dragging(list, moved);

  return function show(films, catalogue, slots) {
    order = films.map((film) => film.id);
    glide(list, () => {
      for (const [id, item] of items) {
        if (!order.includes(id)) {
          item.remove();
          items.delete(id);
        }
      }
      list.querySelectorAll(".slot").forEach((slot) => slot.remove());
      films.forEach((film, place) => {
        if (!items.has(film.id)) items.set(film.id, pick(film, catalogue));
        const item = items.get(film.id);
        item.querySelector(".place").textContent = place + 1;
        enable(item.querySelector("[data-do=earlier]"), place > 0);
        enable(item.querySelector("[data-do=later]"), place < films.length - 1);
        if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
      });
      for (let place = films.length; place < slots; place++) {
        list.append(element("li", { class: "slot", "aria-hidden": "true" }, String(place + 1)));
      }
    });
  };
}

// Not `disabled`: a button that the keyboard is on must not vanish under it.
function enable(button, enabled) {
  if (enabled) button.removeAttribute("aria-disabled");
  else button.setAttribute("aria-disabled", "true");
}

function pick(film, catalogue) {
  const button = (what, label, text) =>
    element("button", { "data-do": what, "aria-label": `${label}: ${film.name}`, title: label }, text);
  return element(
    "li",
    { "data-id": film.id, class: "pick" },
    element("div", { class: "grip", title: "Drag to another place" }, catalogue.card(film)),
    element("p", { class: "name" }, element("span", { class: "place" }), " ", film.name),
    element(
      "div",
      { class: "buttons" },
      button("earlier", "Earlier", element("i")),
      button("remove", "Remove", "✕"),
      button("later", "Later", element("i")),
    ),
  );
}

/** Pointer events serve mouse, pen and finger alike; the browser's own drag and drop does not. */
function dragging(list, moved) {
  let drag = null; // { item, id, x, y, target }

  list.addEventListener("pointerdown", (event) => {
    const item = event.target.closest(".grip")?.closest("li");
    if (!item || event.button !== 0 || drag) return;
    event.preventDefault(); // no text selection, no picture dragging
    drag = { item, pointer: event.pointerId, x: event.clientX, y: event.clientY, target: item };
    item.classList.add("dragged");
  });

  addEventListener("pointermove", (event) => {
    if (event.pointerId !== drag?.pointer) return;
    const { item, x, y } = drag;
    item.style.transform = `translate(${event.clientX - x}px, ${event.clientY - y}px)`;
    drag.target?.classList.remove("target");
    drag.target = [...list.querySelectorAll(".pick")].find((other) => {
      const box = other.getBoundingClientRect();
      return other !== item && event.clientX >= box.left && event.clientX <= box.right &&
        event.clientY >= box.top && event.clientY <= box.bottom;
    });
    drag.target?.classList.add("target");
  });

  const end = (event, drop) => {
    if (!drag || (event.pointerId !== undefined && event.pointerId !== drag.pointer)) return;
    const { item, target } = drag;
    drag = null;
    item.style.transform = "";
    item.classList.remove("dragged");
    target?.classList.remove("target");
    const places = [...list.children];
    if (drop && target) moved(places.indexOf(item), places.indexOf(target));
  };
  addEventListener("pointerup", (event) => end(event, true));
  addEventListener("pointercancel", (event) => end(event, false));
  addEventListener("keydown", (event) => event.key === "Escape" && end(event, false));
}
