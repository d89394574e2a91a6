// On a narrow screen the row of posters starts where the recommendation is seen,
// and whatever scrolls in its own box can be reached with the keyboard.
document.addEventListener("DOMContentLoaded", () => {
  const row = document.querySelector(".posters ol");
  const pick = document.querySelector(".posters .recommended");
  if (row && pick && row.scrollWidth > row.clientWidth) {
    row.scrollLeft = pick.offsetLeft - row.offsetLeft - row.clientWidth / 2 + pick.clientWidth / 2;
  }
  for (const box of document.querySelectorAll(".figure-box, .text_html, .bd-article pre")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
});
