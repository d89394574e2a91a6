// The catalogue's shelf: search, genre, order, and the films that match, a page at a time.

import { search } from "./catalogue.js";
import { $, element } from "./dom.js";

// Two rows at most: more is asked for.
const PAGE = matchMedia("(max-width: 40rem)").matches ? 8 : 20;

/**
 * @param {(id: number) => void} onToggle the reader picks a film, or unpicks it
 * @returns shows a catalogue, and marks the films that are picked
 */
export function shelf(onToggle) {
  const list = $("films");
  let catalogue;
  let shown = PAGE;
  let picked = [];

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
    if (!catalogue) return; // its cards are on their way
    const query = $("search").value;
    const { films, exact } = search(catalogue.films, query, $("genre").value, $("order").value);
    list.replaceChildren(...films.slice(0, shown).map((film) => book(film, catalogue)));
    $("more").hidden = films.length <= shown;
    $("found").textContent = exact
      ? `${films.length.toLocaleString("en")} ${films.length === 1 ? "film" : "films"}`
      : `Nothing is called “${query.trim()}”. ` +
        (catalogue.own
          ? "The films on this page are invented, since the licence of MovieLens-1M does not allow its titles " +
            "to be put online. If you have a copy, “Open MovieLens-1M” above loads the real ones. "
          : "") +
        (films.length ? "The nearest titles here:" : "Try one word of a title, or another genre.");
    mark();
  }

  function mark() {
    for (const button of list.querySelectorAll("button")) {
      const place = picked.indexOf(Number(button.dataset.id));
      button.setAttribute("aria-pressed", String(place >= 0));
      button.querySelector(".tick").textContent = place >= 0 ? `✓ ${place + 1}` : "";
    }
  }

  return {
    open(another) {
      if (catalogue) $("search").value = ""; // else it was typed while the cards were on their way
      catalogue = another;
      $("genre").replaceChildren(element("option", { value: "" }, "all genres"),
        ...catalogue.genres.map((genre) => element("option", { value: genre }, genre)));
      fill();
    },
    mark(now) {
      picked = now;
      mark();
    },
  };
}

function book(film, catalogue) {
  const about = [film.year, film.genres[0]].filter(Boolean).join(" · ");
  return element(
    "li",
    {},
    element(
      "button",
      { type: "button", class: "film", "data-id": film.id },
      catalogue.card(film),
      element("span", { class: "name" }, film.name),
      element("span", { class: "about" }, about),
      element("span", { class: "tick", "aria-hidden": "true" }),
    ),
  );
}
