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
