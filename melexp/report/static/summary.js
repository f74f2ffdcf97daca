"use strict";
// The summary table: the rows of one choice, sorted by a column.

{
  const table = document.getElementById("summary");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells].filter((cell) => cell.querySelector("button"));

  /** Return a cell's value for sorting, or null if it is missing. */
  const valueOf = (row, column) => {
    const text = row.cells[column].dataset.value;
    return text === "None" || text === "" ? null : Number(text);
  };

  const sortBy = (heading, direction) => {
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const column = heading.cellIndex;
    rows.sort((a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      if (x === null || y === null) return (x === null) - (y === null); // missing values last
      return sign * (x - y);
    });
    body.append(...rows);
    document.getElementById("sorted").textContent =
      `Sorted by ${heading.textContent.trim()}, ${direction}.`;
  };

  for (const heading of headings) {
    heading.querySelector("button").addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") === "ascending";
      sortBy(heading, ascending ? "descending" : "ascending");
    });
  }
  sortBy(headings[0], "ascending");

  follow(document.getElementById("summary-controls"), ({ view, dataset, metric }) => {
    const sign = metrics[metric].lower ? 1 : -1;
    const shown = [];
    for (const row of rows) {
      const { view: name, dataset: set, metric: measure } = row.dataset;
      row.hidden = name !== view.name || set !== dataset || measure !== metric;
      if (!row.hidden) shown.push(row);
    }
    const means = shown.map((row) => valueOf(row, 1)).filter((mean) => mean !== null);
    const best = Math.min(...means.map((mean) => sign * mean));
    for (const row of shown) row.classList.toggle("best", sign * valueOf(row, 1) === best);
    const direction = metrics[metric].lower ? "lower" : "higher";
    document.getElementById("direction").textContent =
      `${metrics[metric].label} on ${dataset} after ${view.iterations[dataset]} iterations: ` +
      `${direction} is better; the best mean is bold.`;
  });
}
