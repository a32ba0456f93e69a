"use strict";
(() => {
  const gallery = document.getElementById("gallery");
  if (!gallery) return;
  const tiles = [...gallery.children];
  const control = (name) => document.getElementById(name);
  const shown = control("shown");
  const number = (tile, name) => {
    const text = tile.dataset[name];
    return text === undefined ? NaN : Number(text);
  };

  const filter = () => {
    const fact = control("fact").value;
    const group = control("group").value;
    let count = 0;
    for (const tile of tiles) {
      const fits = (!fact || tile.dataset.facts.split(" ").includes(fact)) && (!group || tile.dataset.group === group);
      tile.hidden = !fits;
      count += fits ? 1 : 0;
    }
    shown.textContent = `${count} of ${tiles.length} shown`;
  };

  const sort = () => {
    const [name, direction] = control("order").value.split(" ");
    const sign = direction === "down" ? -1 : 1;
    const sorted = [...tiles].sort((one, other) => {
      const [a, b] = [number(one, name), number(other, name)];
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b) || number(one, "index") - number(other, "index");
    });
    gallery.append(...sorted);
  };

  const setOpacity = () => gallery.style.setProperty("--overlay", control("opacity").value / 100);
  const setOutline = () => gallery.classList.toggle("plain", !control("outline").checked);

  control("fact").addEventListener("change", filter);
  control("group").addEventListener("change", filter);
  control("order").addEventListener("change", sort);
  control("opacity").addEventListener("input", setOpacity);
  control("outline")?.addEventListener("change", setOutline);
  control("controls").hidden = false;
  for (const start of [filter, sort, setOpacity]) start(); // a page that is reloaded keeps what was chosen
  if (control("outline")) setOutline();
})();
