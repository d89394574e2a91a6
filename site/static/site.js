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
  // The theme marks the section that is read; a long list of them has to scroll along.
  const sections = document.getElementById("pst-page-toc-nav");
  if (sections) {
    new MutationObserver(() => sections.querySelector(".active")?.scrollIntoView({ block: "nearest" }))
      .observe(sections, { subtree: true, attributeFilter: ["class"] });
  }
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
