// On a narrow screen the row of posters starts where the recommendation is seen,
// whatever scrolls in its own box can be reached with the keyboard, and code can be copied.
document.addEventListener("DOMContentLoaded", () => {
  const row = document.querySelector(".posters ol");
  const pick = document.querySelector(".posters .recommended");
  if (row && pick && row.scrollWidth > row.clientWidth) {
    row.scrollLeft = pick.offsetLeft - row.offsetLeft - row.clientWidth / 2 + pick.clientWidth / 2;
  }
  for (const box of document.querySelectorAll(".figure-box, .text_html, .formula, .bd-article pre")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
  followSections(document.getElementById("pst-page-toc-nav"));
  if (!navigator.clipboard) return;  // not a secure context
  for (const pre of document.querySelectorAll(".cell_input pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    pre.parentElement.append(button);
  }
});

// The list of sections marks the one that is read, and scrolls along. (The theme's own way loses it in
// sections that are short, and after a jump.)
function followSections(theirs) {
  if (!theirs) return;
  const list = theirs.cloneNode(true);  // the theme goes on marking the one that it knows
  theirs.replaceWith(list);
  const links = [...list.querySelectorAll("a[href^='#']")];
  const sections = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  let waiting = false;
  const mark = () => {
    waiting = false;
    const at = sections.findLastIndex((section) => section?.getBoundingClientRect().top < 130);
    for (const [i, link] of links.entries()) {
      link.classList.toggle("active", i === at);
      if (i === at) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (!list.contains(document.activeElement)) links[at]?.scrollIntoView({ block: "nearest" });
  };
  addEventListener("scroll", () => { if (!waiting) waiting = Boolean(requestAnimationFrame(mark)); }, { passive: true });
  mark();
}
