// Sorts a table's groups by the column whose heading is pressed; without it the page is complete.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.title = "Sort by this column";
    heading.append(button);
    button.addEventListener("click", () => {
      const descends = heading.getAttribute("aria-sort") !== "descending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descends ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        if (cell.dataset.value !== undefined) return Number.parseFloat(cell.dataset.value);
        const text = cell.textContent.trim().toLowerCase();
        return text === "–" || text === "" ? NaN : text;
      };
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => row.cells.length > 1);
        rows.sort((one, other) => {
          const [a, b] = [key(one), key(other)];
          // What is missing comes last in both directions.
          const order = Number.isNaN(a) - Number.isNaN(b);
          if (order) return order;
          const ascent = a < b ? -1 : a > b ? 1 : 0;
          return descends ? -ascent : ascent;
        });
        body.append(...rows);
      }
    });
  });
}
