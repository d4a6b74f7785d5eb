// The page of an audit: filters and sorts what is there; asks nothing of anybody.
(() => {
  const controls = document.getElementById("controls"), list = document.getElementById("cards");

  const orders = {
    rank: (a, b) => a.dataset.rank - b.dataset.rank,
    p: (a, b) => (b.dataset.p || -1) - (a.dataset.p || -1) || orders.rank(a, b),
    given: (a, b) => a.dataset.given.localeCompare(b.dataset.given, undefined, { numeric: true }) || orders.rank(a, b),
    suggested: (a, b) => a.dataset.suggested.localeCompare(b.dataset.suggested, undefined, { numeric: true }) || orders.rank(a, b),
  };

  function show() {
    const { kind, given, order, least } = Object.fromEntries(new FormData(controls));
    const cards = [...list.children];
    cards.sort(orders[order]).forEach((card) => list.append(card));
    let n = 0;
    for (const card of cards) {
      const fits = (!kind || card.dataset.kind === kind) && (!given || card.dataset.given === given)
        && (+least === 0 || +card.dataset.p >= +least);
      card.hidden = !fits;
      n += fits;
    }
    controls.elements["shown-least"].value = (+least).toFixed(2);
    document.getElementById("count").textContent = `${n} of ${cards.length} shown`;
    document.getElementById("none").hidden = n > 0;
  }

  if (controls) {
    controls.hidden = false;
    controls.addEventListener("input", show);
    controls.addEventListener("submit", (event) => event.preventDefault());
    show();
  }

  // Tables: each heading is a button that sorts by its column, numbers as numbers.
  const value = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent.trim();
  const number = (text) => (text === "" ? -Infinity : +text);
  function sort(table, i) {
    const head = table.tHead.rows[0].cells[i], down = head.ariaSort !== "descending";
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows], numeric = rows.every((row) => !Number.isNaN(number(value(row, i))));
    const compare = numeric ? (a, b) => number(value(a, i)) - number(value(b, i))
      : (a, b) => value(a, i).localeCompare(value(b, i), undefined, { numeric: true });
    rows.sort((a, b) => (down ? compare(b, a) : compare(a, b))).forEach((row) => table.tBodies[0].append(row));
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((cell, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = cell.textContent;
      cell.replaceChildren(button);
      button.addEventListener("click", () => sort(table, i));
    });
  }
})();
