// Every column of a sortable table sorts the rows when its heading is pressed. Without this script the tables are as they are.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const falling = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => {
        const cell = row.cells[column];
        return [cell.dataset.value ?? cell.textContent.trim(), row];
      });
      const [missing, present] = [keyed.filter(([key]) => key === "–"), keyed.filter(([key]) => key !== "–")];
      const numbers = present.every(([key]) => key !== "" && !Number.isNaN(Number(key)));
      present.sort(([a], [b]) => {
        const order = numbers ? a - b : a.localeCompare(b, "en", { numeric: true });
        return falling ? -order : order;
      });
      // What is missing comes last, whichever way.
      body.append(...[...present, ...missing].map(([, row]) => row));
    });
  });
}
