// The catalogue: all films with their cards, and a forgiving search by title.

import { drawCard } from "./cards.js";
import { fetchJson } from "./download.js";

/**
 * The catalogue that the page was built with, and what manifest.json says of it. Its cards are the
 * larger part: they come with `loadCards`, but for those that are drawn on the page.
 * @param drawn finds those, by movie id
 */
export async function loadCatalogue(drawn) {
  const [manifest, content] = await Promise.all(["manifest.json", "catalogue.json"].map(fetchJson));
  const { data_set: dataSet, model, own } = manifest;
  const catalogue = {
    ...content,
    ...arranged(content.films, (film) => drawCard(catalogue.cards[film.id], catalogue.view), drawn(content)),
    dataSet,
    model,
    own,
    loadCards: async () => Object.assign(catalogue, await fetchJson("cards.json")),
  };
  return catalogue;
}

/** Films, most watched first, made ready to be found; `draw` makes the card of one. */
export function arranged(films, draw, drawn = new Map()) {
  films.forEach((film, rank) => {
    film.rank = rank;
    film.plain = plain(film.name);
  });
  return {
    films,
    byId: new Map(films.map((film) => [film.id, film])),
    byToken: new Map(films.map((film) => [film.token, film])),
    genres: [...new Set(films.flatMap((film) => film.genres))].sort(),
    /** A fresh copy of a film's card. */
    card(film) {
      if (!drawn.has(film.id)) drawn.set(film.id, draw(film));
      return drawn.get(film.id).cloneNode(true);
    },
  };
}

/** Lower case, no accents, no punctuation: what is compared. As _plain in recformer_utils/tokens.py. */
export function plain(title) {
  return title
    .toLowerCase()
    .normalize("NFKD")
    .replace(/[\u0300-\u036f']/g, "")
    .replace(/[^a-z0-9]+/g, " ")
    .trim();
}

const ORDERS = {
  watched: (a, b) => a.rank - b.rank,
  name: (a, b) => (a.plain < b.plain ? -1 : 1),
  year: (a, b) => b.year - a.year || a.rank - b.rank,
};

/** Films of a genre that match a query, best first; `exact` is false for mere neighbors. */
export function search(films, query, genre, order) {
  const wanted = plain(query);
  const pool = films.filter((film) => !genre || film.genres.includes(genre)).sort(ORDERS[order]);
  if (!wanted) return { films: pool, exact: true };
  const words = wanted.split(" ");
  const ranked = pool
    .map((film) => [rankOf(film, wanted, words), film])
    .filter(([rank]) => rank < 9)
    .sort((a, b) => a[0] - b[0]) // stable: within a rank the chosen order stays
    .map(([, film]) => film);
  if (ranked.length) return { films: ranked, exact: true };
  const near = pool
    .map((film) => [likeness(wanted, film.plain), film])
    .filter(([value]) => value > 0.3)
    .sort((a, b) => b[0] - a[0])
    .slice(0, 6)
    .map(([, film]) => film);
  return { films: near, exact: false };
}

function rankOf(film, wanted, words) {
  const title = `${film.plain} ${film.year}`;
  if (film.plain === wanted || title === wanted) return 0;
  if (title.startsWith(wanted) || title.replace(/^(the|an?|l[ae]s?) /, "").startsWith(wanted)) return 1;
  const parts = title.split(" ");
  if (words.every((word) => parts.some((part) => part.startsWith(word)))) return 2;
  return title.includes(wanted) ? 3 : 9;
}

/** Share of common pairs of letters, 0 to 1 (Dice): forgives typing errors. */
function likeness(a, b) {
  const pairs = (text) => Array.from({ length: text.length - 1 }, (_, i) => text.slice(i, i + 2));
  const left = pairs(a);
  const right = pairs(b);
  const all = left.length + right.length;
  const common = left.filter((pair) => {
    const at = right.indexOf(pair);
    if (at >= 0) right.splice(at, 1);
    return at >= 0;
  });
  return all ? (2 * common.length) / all : 0;
}
