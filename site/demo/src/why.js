// Why a film is recommended, and what changes when one of the reader's is taken away: in words and
// bars, for the film that is pointed at, else for the one that was pressed.

import { $, afterPaint, element, listed } from "./dom.js";
import { percent } from "./ten.js";

// On a phone the words lie over the films, so there they have to be asked for.
const sheet = matchMedia("(max-width: 40rem)");
const SHOWN = 5; // of the reader's films, those that get most attention

/**
 * @param actions functions of a movie id: add, remove, earlier, later
 * @returns {{show: Function, forget: Function}}
 */
export function whyPanel(actions) {
  const panel = $("why");
  let state = null; // { answer, films, catalogue }
  let pinned = null; // { list, id }
  let drawn = {}; // what the panel shows: a button that is being pressed must not be replaced

  for (const list of [$("recommendations"), $("picks")]) {
    const point = (event) => {
      const film = event.target.closest(".film[data-id]");
      if (film && !sheet.matches) draw({ list, id: Number(film.dataset.id) });
    };
    list.addEventListener("pointerover", (event) => event.pointerType === "mouse" && point(event));
    list.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && point(event));
    for (const left of ["pointerleave", "focusout"]) list.addEventListener(left, () => draw(pinned));
    list.addEventListener("click", (event) => {
      const film = event.target.closest(".film[data-id]");
      if (!film) return;
      const id = Number(film.dataset.id);
      pin(pinned?.list === list && pinned.id === id ? null : { list, id });
    });
  }
  panel.addEventListener("click", (event) => {
    const { act, id } = event.target.dataset;
    if (act === "close") pin(null);
    else if (act) actions[act](Number(id));
  });

  function pin(subject, drawing = draw) {
    pinned = subject;
    for (const film of document.querySelectorAll("#recommendations .film, #picks .film")) {
      film.setAttribute("aria-pressed",
        String(Boolean(pinned?.list.contains(film) && Number(film.dataset.id) === pinned.id)));
    }
    drawing(pinned);
  }

  function draw(subject) {
    if (drawn.state === state && drawn.list === subject?.list && drawn.id === subject?.id) return;
    drawn = { state, ...subject };
    const { answer, films } = state ?? {};
    const place = !answer || !subject ? -1
      : subject.list === $("picks") ? films.findIndex(({ id }) => id === subject.id)
      : answer.ten.findIndex(({ film }) => film.id === subject.id);
    const picked = subject?.list === $("picks");
    panel.classList.toggle("open", place >= 0);
    panel.classList.toggle("empty", !answer);
    mark(picked && place >= 0 ? answer.without(place) : null);
    panel.replaceChildren(...(place < 0 ? invitation() : picked ? ofPick(place) : ofTen(place)));
  }

  /** Of the ten, those that would leave. */
  function mark(without) {
    [...$("recommendations").children].forEach((item, i) => {
      item.classList.toggle("leaves", Boolean(without && state.answer.ten[i] &&
        !without.ten.includes(state.answer.ten[i].film.token)));
    });
  }

  function invitation() {
    return state?.answer ? [
      element("p", {}, "Point at a film, or press it, to see why. Drag to put your films in order, or another one among them."),
      element("p", { class: "quiet long" }, "The bars under your films: how much the model’s last position looks at each, the attention " +
        "of its last block, mean of the heads; the largest fills its bar. The last film, which does the looking, counts beyond its bar."),
    ] : [element("p", {}, "Pick a film, or one of the ready-made histories, and ten recommendations appear.")];
  }

  const button = (act, id, text) => element("button", { type: "button", class: "plain", "data-act": act, "data-id": id }, text);
  const close = () => element("button", { type: "button", class: "plain close", "data-act": "close", "aria-label": "Close" }, "✕");

  function ofTen(at) {
    const { answer, films } = state;
    const { film, probability } = answer.ten[at];
    const most = Math.max(...answer.attention);
    const rows = [...films.keys()]
      .sort((a, b) => answer.attention[b] - answer.attention[a])
      .slice(0, SHOWN)
      .sort((a, b) => a - b)
      .map((place) => {
        const without = answer.without(place);
        const share = element("span", { class: "bar" });
        share.style.setProperty("--share", answer.attention[place] / most);
        return element("tr", {},
          element("th", { scope: "row" }, films[place].name),
          element("td", {}, share, element("span", { class: "spoken" }, percent(answer.attention[place]))),
          element("td", {}, without ? `${percent(without.of[at][0])}, place ${without.of[at][1]}` : "–"));
      });
    return [
      element("div", { class: "head" },
        element("p", {}, "Why ", element("b", {}, film.name), `? ${percent(probability)}, place ${at + 1}`),
        element("span", { class: "tools" }, button("add", film.id, "Add to your films"), close())),
      element("table", {},
        element("thead", {}, element("tr", {}, ...["Your film", "Attention", "Without it"].map((text) => element("th", { scope: "col" }, text)))),
        element("tbody", {}, ...rows)),
    ];
  }

  function ofPick(place) {
    const { answer, films, catalogue } = state;
    const { id, name } = films[place];
    const without = answer.without(place);
    const names = (tokens) => listed(tokens.map((token) => catalogue.byToken.get(token).name));
    const now = answer.ten.map(({ film }) => film.token);
    return [
      element("div", { class: "head" },
        element("p", {}, element("b", {}, name), ` gets ${percent(answer.attention[place])} of the attention`),
        element("span", { class: "tools" },
          place > 0 ? button("earlier", id, "Earlier") : null,
          place < films.length - 1 ? button("later", id, "Later") : null,
          button("remove", id, "Remove"), close())),
      ...(without ? [
        element("p", {}, "Without it, first: ", element("b", {}, names(without.ten.slice(0, 1))), "."),
        element("p", {}, element("b", {}, "Would enter: "), names(without.ten.filter((token) => !now.includes(token)))),
        element("p", {}, element("b", {}, "Would leave: "), names(now.filter((token) => !without.ten.includes(token)))),
      ] : [element("p", {}, "It is the only film: without it nothing is known of you.")]),
    ];
  }

  return {
    /** @param answer { ten: [{film, probability}], attention, without(place) }, or null */
    show(answer, films, catalogue) {
      state = { answer, films, catalogue };
      const there = pinned && (pinned.list === $("picks") ? films : answer?.ten.map(({ film }) => film) ?? []);
      // What to say of a film asks the model once for each of the reader's: the ten do not wait for that.
      const stays = there?.some(({ id }) => id === pinned.id);
      pin(stays ? pinned : null, stays ? () => afterPaint(() => draw(pinned)) : draw);
    },
  };
}
