// The catalogue's shelf: search, genre, order, and the films that match, a page at a time.

import { search } from "./catalogue.js";
import { $, element } from "./dom.js";

// On a phone, where three stand in a row, the page would be five screens longer with 48.
const PAGE = matchMedia("(max-width: 40rem)").matches ? 12 : 48;

/**
 * @param {(id: number) => void} onToggle the reader picks a film, or unpicks it
 * @returns {(picked: number[]) => void} marks the films that are picked
 */
export function shelf(catalogue, onToggle) {
  const list = $("films");
  let shown = PAGE;
  let picked = [];

  $("genre").append(...catalogue.genres.map((genre) => element("option", { value: genre }, genre)));
  for (const id of ["search", "genre", "order"]) {
    $(id).addEventListener("input", () => {
      shown = PAGE;
      fill();
    });
  }
  $("more").addEventListener("click", () => {
    const first = list.children.length;
    shown += PAGE;
    fill();
    list.children[first]?.querySelector("button").focus();
  });
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) onToggle(Number(button.dataset.id));
  });

  function fill() {
    const query = $("search").value;
    const { films, exact } = search(catalogue.films, query, $("genre").value, $("order").value);
    list.replaceChildren(...films.slice(0, shown).map((film) => book(film, catalogue)));
    $("more").hidden = films.length <= shown;
    $("found").textContent = exact
      ? `${films.length.toLocaleString("en")} ${films.length === 1 ? "film" : "films"}`
      : films.length
        ? `Nothing is called “${query.trim()}”. The nearest titles:`
        : `Nothing is called “${query.trim()}”. Try one word of the title, or another genre.`;
    mark();
  }

  function mark() {
    for (const button of list.querySelectorAll("button")) {
      const place = picked.indexOf(Number(button.dataset.id));
      button.setAttribute("aria-pressed", String(place >= 0));
      button.querySelector(".tick").textContent = place >= 0 ? `✓ ${place + 1}` : "";
    }
  }

  fill();
  return (now) => {
    picked = now;
    mark();
  };
}

function book(film, catalogue) {
  const about = [film.year, film.genres[0]].filter(Boolean).join(" · ");
  return element(
    "li",
    {},
    element(
      "button",
      { class: "film", "data-id": film.id },
      catalogue.card(film),
      element("span", { class: "name" }, film.name),
      element("span", { class: "about" }, about),
      element("span", { class: "tick", "aria-hidden": "true" }),
    ),
  );
}
