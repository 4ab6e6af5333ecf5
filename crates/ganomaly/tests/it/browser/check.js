// Checks a report as a reader would, and returns a list of complaints.
(async () => {
  const complaints = [];
  const say = (text) => complaints.push(text);
  for (const details of document.querySelectorAll("details")) details.open = true;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const nameOf = (element) => {
    const part = element.querySelector("figcaption, caption");
    const section = element.closest("section");
    return `${section ? section.id : "page"}: ${(part ?? element).textContent.trim().slice(0, 40)}`;
  };

  // Every figure shows something.
  const INKS = ["#222222", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#785EF0"];
  const drawn = (svg) =>
    [...svg.querySelectorAll("polyline, polygon, circle, line, rect, path")].some((mark) => {
      if (!INKS.includes(mark.getAttribute("stroke")) && !INKS.includes(mark.getAttribute("fill"))) return false;
      const [box, frame] = [mark.getBoundingClientRect(), svg.getBoundingClientRect()];
      const inside = box.left >= frame.left - 2 && box.right <= frame.right + 2 && box.top >= frame.top - 2 && box.bottom <= frame.bottom + 2;
      return inside && box.width + box.height > 1;
    });
  const coloured = (image) => {
    if (!image.complete || image.naturalWidth === 0) return false;
    canvas.width = Math.min(image.naturalWidth, 800);
    canvas.height = Math.min(image.naturalHeight, 800);
    context.drawImage(image, 0, 0);
    const pixels = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    return pixels.some((pixel) => pixel !== pixels[0]);
  };
  const figures = {};
  for (const figure of document.querySelectorAll("figure")) {
    const section = figure.closest("section")?.id ?? "page";
    figures[section] = (figures[section] ?? 0) + 1;
    const box = figure.getBoundingClientRect();
    if (box.width < 60 || box.height < 60) say(`${nameOf(figure)}: the figure has no size`);
    const [svgs, images] = [[...figure.querySelectorAll("svg")], [...figure.querySelectorAll("img")]];
    const cells = [...figure.querySelectorAll("td")].filter((cell) => /\d/.test(cell.textContent));
    if (svgs.length + images.length + cells.length === 0) say(`${nameOf(figure)}: the figure is empty`);
    if (!svgs.every(drawn)) say(`${nameOf(figure)}: the figure is empty`);
    if (!images.every(coloured)) say(`${nameOf(figure)}: a picture is not shown`);
    if (!svgs.every((svg) => svg.getAttribute("aria-label"))) say(`${nameOf(figure)}: an SVG without a label`);
    if (!images.every((image) => image.alt)) say(`${nameOf(figure)}: a picture without an alternative text`);
  }

  // Every table sorts by every column, both ways, and loses no row.
  for (const table of document.querySelectorAll("table")) {
    if (!table.caption?.textContent.trim()) say(`${nameOf(table)}: a table without a caption`);
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const rows = () => [...table.tBodies[0].rows];
    const before = rows().map((row) => row.textContent).sort().join("\n");
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = heading.querySelector("button");
      if (!button) return say(`${nameOf(table)}: column ${column} has no button`);
      for (const way of ["ascending", "descending"]) {
        button.click();
        const cells = rows().map((row) => row.cells[column]).filter((cell) => cell.textContent !== "–");
        const values = cells.map((cell) => cell.dataset.value ?? cell.textContent.trim());
        const numbers = values.every((value) => value !== "" && !Number.isNaN(Number(value)));
        const sorted = values.slice(1).every((value, at) => {
          const order = numbers ? value - values[at] : value.localeCompare(values[at], "en", { numeric: true });
          return way === "ascending" ? order >= 0 : order <= 0;
        });
        if (!sorted) say(`${nameOf(table)}: column ${column} does not sort ${way}`);
        if (heading.getAttribute("aria-sort") !== way) say(`${nameOf(table)}: column ${column} does not say that it is ${way}`);
      }
    });
    if (rows().map((row) => row.textContent).sort().join("\n") !== before) say(`${nameOf(table)}: sorting changed the rows`);
  }

  // The page does not scroll sideways, its headings are in order, and its links lead somewhere.
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) say(`the page scrolls sideways: ${root.scrollWidth} of ${root.clientWidth} pixels`);
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) say(`the heading ${heading.textContent} skips a level`);
    level = next;
  }
  for (const link of document.querySelectorAll("a[href]")) {
    if (!document.getElementById(decodeURIComponent(link.hash.slice(1)))) say(`the link ${link.textContent} leads nowhere`);
  }

  // Every text stands out from its background.
  canvas.width = canvas.height = 1;
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      known.set(colour, [...context.getImageData(0, 0, 1, 1).data]);
    }
    return known.get(colour);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const pale = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest("script, style, .skip")) continue;
    const style = getComputedStyle(element);
    const ink = rgba(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) pale.add(`too pale (${contrast.toFixed(1)}): ${walker.currentNode.textContent.trim().slice(0, 40)}`);
  }
  for (const text of pale) say(text);
  return { complaints, figures, title: document.querySelector("h1").textContent };
})()
