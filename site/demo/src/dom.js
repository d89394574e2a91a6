// Helpers for making and moving elements.

export const $ = (id) => document.getElementById(id);

/** element("button", { class: "plain", onclick: f }, "Text", child) */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** "A, B, C and 4 more" */
export function listed(names) {
  return names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "") || "none";
}

/** Puts children into a list, in order. What stays in its place is left alone, and keeps its layout. */
export function arrange(list, children) {
  const wanted = new Set(children);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, place) => {
    const there = list.children[place];
    if (there !== child) list.insertBefore(child, there ?? null);
  });
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");

let before = null; // where elements were at the last paint, once one of the lists is about to change

/**
 * Called before lists change: with the next frame every element glides from where it was. One look for
 * both, and one in the frame, which arranges the page anyway: each in between would arrange it once more.
 */
export function glide(...lists) {
  if (calm.matches || before) return;
  before = new Map(lists.flatMap(({ children }) => [...children]).map((child) => [child, child.getBoundingClientRect()]));
  requestAnimationFrame(() => {
    const options = { duration: 260, easing: "cubic-bezier(.2, .7, .2, 1)" };
    const now = lists.flatMap(({ children }) => [...children]).map((child) => [child, child.getBoundingClientRect()]);
    for (const [child, { left, top }] of now) {
      const old = before.get(child);
      if (!old) child.animate([{ opacity: 0, transform: "scale(.94)" }, {}], options);
      else if (old.left !== left || old.top !== top) {
        child.animate([{ transform: `translate(${old.left - left}px, ${old.top - top}px)` }, {}], options);
      }
    }
    before = null;
  });
}

/** What can wait until what is there has been painted. */
export const afterPaint = (work) => requestAnimationFrame(() => setTimeout(work));
