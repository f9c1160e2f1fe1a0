// Tabs, of which one is open; arrows go from one to the next.

/**
 * Makes the tabs of the page work.
 * @param {function(string)} opened told which panel is open now
 * @returns {function(string)} opens the panel of a name
 */
export function tabs(opened) {
  const all = [...document.querySelectorAll("[role=tab]")];
  const wide = matchMedia("(min-width: 60rem)");
  const open = (name) => {
    document.body.dataset.view = name;
    for (const tab of all) {
      const chosen = tab.getAttribute("aria-controls") === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      const panel = document.getElementById(tab.getAttribute("aria-controls"));
      if (panel.id !== "disk") panel.hidden = !chosen;
    }
    opened(name);
  };
  const usable = () => all.filter((tab) => tab.offsetParent);
  for (const tab of all) {
    tab.addEventListener("click", () => open(tab.getAttribute("aria-controls")));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const shown = usable();
      const next = shown[(shown.indexOf(tab) + step + shown.length) % shown.length];
      open(next.getAttribute("aria-controls"));
      next.focus();
    });
  }
  wide.addEventListener("change", () => wide.matches && document.body.dataset.view === "disk" && open("found"));
  open("found");
  return open;
}
