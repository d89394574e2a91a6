// Dragging a card: within the reader's films to put them in order, and into them from elsewhere.
// Pointer events serve mouse, pen and finger alike; the browser's own drag and drop does not.

const START = 6; // pixels until a press becomes a drag

/**
 * @param {HTMLElement} page whose .film elements with a data-id can be dragged
 * @param {HTMLElement} list where they are dropped
 * @param {(id: number, place: number) => void} dropped
 */
export function dragging(page, list, dropped) {
  let drag = null; // { film, pointer, x, y, ghost, target }

  page.addEventListener("pointerdown", (event) => {
    const film = event.target.closest(".film[data-id]");
    // A finger that moves over the catalogue scrolls it.
    if (!film || event.button !== 0 || drag || (event.pointerType === "touch" && !list.contains(film))) return;
    drag = { film, pointer: event.pointerId, x: event.clientX, y: event.clientY };
  });
  page.addEventListener("dragstart", (event) => event.preventDefault());

  addEventListener("pointermove", (event) => {
    if (event.pointerId !== drag?.pointer) return;
    const { film, x, y } = drag;
    const [right, down] = [event.clientX - x, event.clientY - y];
    if (!drag.ghost) {
      if (Math.hypot(right, down) < START) return;
      const card = film.querySelector(".card");
      const box = card.getBoundingClientRect();
      drag.ghost = card.cloneNode(true);
      drag.ghost.classList.add("ghost");
      Object.assign(drag.ghost.style, { left: `${box.left}px`, top: `${box.top}px`, width: `${box.width}px` });
      page.append(drag.ghost);
      film.classList.add("dragged");
    }
    drag.ghost.style.transform = `translate(${right}px, ${down}px)`;
    drag.target?.classList.remove("target");
    const within = (box, slack = 0) =>
      event.clientX >= box.left - slack && event.clientX <= box.right + slack &&
      event.clientY >= box.top - slack && event.clientY <= box.bottom + slack;
    drag.target = [...list.children].find((item) => within(item.getBoundingClientRect())) ??
      (within(list.getBoundingClientRect(), 20) ? list.lastElementChild : null);
    drag.target?.classList.add("target");
  });

  const end = (event, drop) => {
    if (!drag || (event.pointerId !== undefined && event.pointerId !== drag.pointer)) return;
    const { film, ghost, target } = drag;
    drag = null;
    if (!ghost) return;
    ghost.remove();
    film.classList.remove("dragged");
    target?.classList.remove("target");
    // The click that follows the drop is none.
    const once = (click) => click.stopPropagation();
    page.addEventListener("click", once, { capture: true, once: true });
    setTimeout(() => page.removeEventListener("click", once, { capture: true }));
    if (drop && target) dropped(Number(film.dataset.id), [...list.children].indexOf(target));
  };
  addEventListener("pointerup", (event) => end(event, true));
  addEventListener("pointercancel", (event) => end(event, false));
  addEventListener("keydown", (event) => event.key === "Escape" && end(event, false));
}
