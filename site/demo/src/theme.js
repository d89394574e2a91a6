// Light or dark: what the reader chose on the other pages of the site (pydata-sphinx-theme keeps
// it in localStorage), else what the system says (style.css). A classic script, so that the page
// is never painted in the wrong colors first.
try {
  const chosen = localStorage.getItem("mode");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; then the system decides.
}
