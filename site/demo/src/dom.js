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

const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** Runs a change of a list, then lets every element glide from where it was. */
export function glide(list, change) {
  const before = new Map([...list.children].map((child) => [child, child.getBoundingClientRect()]));
  change();
  if (calm.matches) return;
  for (const child of list.children) {
    const old = before.get(child);
    const now = child.getBoundingClientRect();
    const options = { duration: 260, easing: "cubic-bezier(.2, .7, .2, 1)" };
    if (!old) child.animate([{ opacity: 0, transform: "scale(.94)" }, {}], options);
    else if (old.left !== now.left || old.top !== now.top) {
      const shift = `translate(${old.left - now.left}px, ${old.top - now.top}px)`;
      child.animate([{ transform: shift }, {}], options);
    }
  }
}
