// MovieLens-1M from the reader's own copy: its zip, or movies.dat out of it. It is read here and goes
// nowhere; the model that was trained on it knows its films by their place in the order of ids.

import { arranged, search } from "./catalogue.js";
import { drawCard, lettering } from "./cards.js";
import { Failure } from "./download.js";

const WAY_ON = "Download ml-1m.zip from grouplens.org/datasets/movielens/1m and open it as it is, or movies.dat out of it.";

/**
 * @param {Blob} file ml-1m.zip or movies.dat
 * @param sample the catalogue of invented films: the model's description, presets, pictures for cards
 */
export async function ownCatalogue(file, sample) {
  const { own, styles } = sample;
  const source = new TextDecoder("latin1").decode(await moviesOf(file));
  const all = readMovies(source);
  const unrated = new Set(own.unrated);
  const rated = all.filter(({ id }) => !unrated.has(id)).sort((a, b) => a.id - b.id);
  if (rated.length !== own.num_movies) {
    throw new Failure(`This is not the movies.dat of MovieLens-1M: ${rated.length} of its films are known to the model, not ${own.num_movies}. ${WAY_ON}`);
  }
  const films = rated.map(({ id, title, genres }, token) => ({
    id, token, ...splitTitle(title), genres: styles.filter((style) => genres.includes(style)),
  }));
  const catalogue = {
    ...arranged(films, (film) => drawCard(borrowed(film, sample), sample.view)),
    dataSet: { name: "ml-1m", title: "MovieLens-1M", films: films.length },
    model: own,
    source, // what the page keeps for a reload
    features: features(rated, own.tensors.find(([name]) => name === "feature_embedding.weight")[1][1],
      own.num_movies + 2),
  };
  catalogue.presets = sample.own_presets.map(({ name, films: titles }) => ({
    name, films: titles.map((title) => search(films, title, "", "watched").films[0].id),
  }));
  return catalogue;
}

/** How often films were watched is not in movies.dat: the order is the model's, after well-known films. */
export function byTheModel(catalogue, model) {
  const sum = new Float64Array(catalogue.films.length);
  for (const id of catalogue.presets.flatMap(({ films }) => films)) {
    model.read([catalogue.byId.get(id).token]).probabilities.forEach((value, token) => (sum[token] += value));
  }
  catalogue.films.sort((a, b) => sum[b.token] - sum[a.token]).forEach((film, rank) => (film.rank = rank));
}

/** The bytes of movies.dat: the file itself, or taken out of the zip. */
async function moviesOf(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const view = new DataView(bytes.buffer);
  if (bytes.length < 22 || view.getUint32(0, true) !== 0x04034b50) return bytes;
  let end = bytes.length - 22; // the zip's directory is found from its last record
  while (end > 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (!end) throw new Failure(`The zip is damaged or incomplete. ${WAY_ON}`);
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    const [method, packed, name, extra, comment, start] = [
      view.getUint16(at + 10, true), view.getUint32(at + 20, true), view.getUint16(at + 28, true),
      view.getUint16(at + 30, true), view.getUint16(at + 32, true), view.getUint32(at + 42, true),
    ];
    if (/(^|\/)movies\.dat$/.test(new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + name)))) {
      const from = start + 30 + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
      const content = new Blob([bytes.subarray(from, from + packed)]);
      if (method === 0) return content.arrayBuffer();
      return new Response(content.stream().pipeThrough(new DecompressionStream("deflate-raw"))).arrayBuffer();
    }
    at += 46 + name + extra + comment;
  }
  throw new Failure(`There is no movies.dat in this zip. ${WAY_ON}`);
}

function readMovies(text) {
  return text.split(/\r?\n/).filter(Boolean).map((line, number) => {
    const match = /^(\d+)::(.*)::([^:]*)$/.exec(line);
    if (!match) throw new Failure(`Line ${number + 1} of the file is no film (id::title::genres). ${WAY_ON}`);
    return { id: Number(match[1]), title: match[2], genres: match[3].split("|") };
  });
}

const ARTICLES = "The|A|An|Les|La|Le|L'|Der|Die|Das|Il|El|Los|Las|Det|Den|De|Het|Un|Une|Una|Lo|O";

/** "Matrix, The (Die Matrix) (1999)" is The Matrix of 1999, as in recformer_utils/posters/cards.py. */
function splitTitle(title) {
  const [, text, year] = /^(.*?)\s*(?:\((\d{4})\))?$/.exec(title.trim());
  let name = text;
  for (let short; (short = name.replace(/\s*\([^()]*\)$/, "")) && short !== name;) name = short;
  name = name.replace(new RegExp(`^(.+), (${ARTICLES})$`), (_, rest, article) =>
    article + (article.endsWith("'") ? "" : " ") + rest);
  return { name, year: year ? Number(year) : null };
}

/** As movie_features in recformer_utils/tokens.py; a row for each token, those of the two marks empty. */
function features(movies, columns, rows) {
  const made = new Float32Array(rows * columns);
  const genres = [...new Set(movies.flatMap((movie) => movie.genres))].sort();
  const years = movies.map(({ title }) => Number(/\((\d{4})\)\s*$/.exec(title)?.[1] ?? NaN));
  const known = years.filter((year) => year).sort((a, b) => a - b);
  const middle = (known[(known.length - 1) >> 1] + known[known.length >> 1]) / 2;
  const lower = movies.map(({ title }) => title.toLowerCase());
  const order = [...movies.keys()].sort((a, b) => (lower[a] < lower[b] ? -1 : lower[a] > lower[b] ? 1 : a - b));
  const place = new Map(order.map((token, at) => [token, at]));
  movies.forEach((movie, token) => {
    const row = genres.map((genre) => Number(movie.genres.includes(genre)));
    for (let i = 0; i < 16; i++) {
      const away = ((years[token] || middle) - (1920 + (80 * i) / 15)) / 2.4;
      row.push(Math.exp(-(away ** 2) / 2));
    }
    for (const at of [place.get(token), token]) {
      const angles = Array.from({ length: 10 }, (_, i) => (2 * Math.PI * at * 2 ** i) / movies.length);
      row.push(...angles.map(Math.sin), ...angles.map(Math.cos));
    }
    made.set(row, token * columns);
  });
  return made;
}

/** The picture of an invented film of the same genre, with this title below it. */
function borrowed(film, { cards, view, styles }) {
  const all = Object.values(cards);
  const [genre = styles.at(-1)] = film.genres;
  const same = all.filter((card) => card.text.at(-1).at(-1).endsWith(genre.toUpperCase()));
  const card = (same.length ? same : all)[film.id % (same.length || all.length)];
  return { ...card, text: lettering(film, card, view) };
}
