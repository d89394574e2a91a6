// Title cards: SVG from the instructions that tools/card_svg.py wrote for the cards of
// the series. SVG is sharp on every screen and at every size.

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const shapes = (paths) => paths.map(([fill, d]) => svg("path", { fill, d }));

/** Draws one card; `view` is [width, height], the units of its instructions. */
export function drawCard(card, view) {
  const [width, height] = view;
  return svg(
    "svg",
    { class: "card", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    // Wider than the card: its place on the screen is seldom a whole number of pixels.
    svg("rect", { x: -4, y: -4, width: width + 8, height: height + 8, fill: card.ground }),
    // An inner svg cuts off what reaches over the edge of the picture.
    svg("svg", { width, height: card.art_height }, ...shapes(card.art)),
    ...shapes(card.marks),
    ...card.text.map(([x, y, size, fill, words]) =>
      svg("text", { x, y, "font-size": size, fill }, words)),
  );
}

const SIZES = [60, 55, 50, 46, 41, 37, 34, 31, 28]; // of a title's letters, in units of the card
const canvas = document.createElement("canvas").getContext("2d");

/** Lines of a title, as large as they fit, and year and genre: in place of another card's text. */
export function lettering({ name, year }, card, [width, height]) {
  const [x, baseline, size, fill, label] = card.text.at(-1);
  const wide = width - 2 * x;
  const top = height - 0.5125 * width;
  const longest = (lines) => Math.max(...lines.map((line) => canvas.measureText(line).width));
  let lines, letters;
  for (letters of SIZES) {
    canvas.font = `bold ${letters}px Cards, "DejaVu Sans", sans-serif`;
    lines = name.split(" ").reduce((done, word) => {
      const longer = `${done.at(-1)} ${word}`.trim();
      return done.at(-1) && longest([longer]) > wide ? [...done, word] : [...done.slice(0, -1), longer];
    }, [""]);
    if (lines.length * letters * 1.12 <= baseline - top - 1.5 * size && longest(lines) <= wide) break;
  }
  return [
    ...lines.map((line, i) => [x, top + (0.86 + 1.12 * i) * letters, letters, fill, line]),
    [x, baseline, size, fill, [year, ...label.split(" · ").slice(1)].filter(Boolean).join(" · ")],
  ];
}
