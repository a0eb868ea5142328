"use strict";
(() => {
  const form = document.getElementById("filters"), grid = document.getElementById("grid");
  const dialog = document.getElementById("cell"), body = document.getElementById("cell-body");
  let data, fits = new Map(), cases = new Map();
  const rows = [...grid.tBodies[0].rows].map((row) => ({ row, links: [...row.querySelectorAll("a")] }));
  const columns = [...grid.querySelectorAll("[data-e]")];

  // Untrusted text goes in as text nodes only.
  const make = (tag, content = "", attributes = {}) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...[content].flat());
    return made;
  };
  const shown = (value) => (typeof value === "number" ? String(value).replace("e-", "e−").replace(/^-/, "−") : value ?? "");

  const said = (link) => link.querySelector("span").textContent.replace("\u00ad", "");

  function filter() {
    const chosen = new FormData(form);
    const method = chosen.get("method") ?? grid.dataset.method, profile = chosen.get("profile") ?? grid.dataset.profile;
    const verdict = chosen.get("verdict"), family = chosen.get("family");
    const words = chosen.get("text").toLowerCase().split(/\s+/).filter(Boolean);
    const engine = [...form.elements.engine?.length ? form.elements.engine : [form.elements.engine]].map((box) => box.checked);
    for (const cell of columns) cell.classList.toggle("off", !engine[cell.dataset.e]);
    const fitting = (link) =>
      !verdict ||
      (verdict === "!wrong" ? link.classList.contains("wrong")
        : verdict === "!silent" ? link.classList.contains("silent")
        : said(link) === verdict);
    let cells = 0, lines = 0;
    for (const { row, links } of rows) {
      const wanted = (!family || row.dataset.family === family) && words.every((word) => row.dataset.text.includes(word));
      let found = 0;
      for (const link of links) {
        const here = link.dataset.m === method && link.dataset.p === profile, fit = fitting(link);
        link.classList.toggle("off", !here);
        link.classList.toggle("faded", !fit);
        if (wanted && here && fit && engine[link.parentElement.dataset.e]) found += 1;
      }
      row.classList.toggle("off", !found);
      cells += found;
      if (found) lines += 1;
    }
    document.getElementById("matrix-h").dataset.shown = `${method}, ${profile}`;
    document.getElementById("count").textContent = `${lines} of ${rows.length} cases, ${cells} fits${verdict ? " with this verdict" : ""}`;
    rove(current());
    edges(grid.parentElement);
  }

  // What lies beyond the edge of a table is announced: it fades out there, and the matrix counts it.
  function edges(box) {
    box.toggleAttribute("data-more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
    box.toggleAttribute("data-past", box.scrollLeft > 2);
    box.style.setProperty("--bar", `${box.offsetWidth - box.clientWidth}px`);
    if (!box.contains(grid)) return;
    const right = box.getBoundingClientRect().left + box.clientWidth;
    const beyond = [...grid.tHead.rows[0].cells].filter((cell) => cell.getBoundingClientRect().right > right + 2).length;
    document.getElementById("more").textContent = beyond ? `; ${beyond} more engine${beyond > 1 ? "s" : ""} to the right →` : "";
  }
  const watched = new ResizeObserver((entries) => { for (const entry of entries) edges(entry.target); });
  for (const box of document.querySelectorAll(".scroll")) {
    watched.observe(box);
    box.addEventListener("scroll", () => edges(box), { passive: true });
  }

  const address = (link) => decodeURIComponent(link.hash.slice(1));
  const visible = () => rows.filter(({ row }) => !row.classList.contains("off"))
    .map(({ links }) => links.filter((a) => !a.classList.contains("off") && !a.parentElement.classList.contains("off")))
    .filter((line) => line.length);
  const current = () => grid.querySelector('a[tabindex="0"]');

  // One cell is in the tab order; arrows move on from there.
  function rove(link) {
    const lines = visible();
    if (!lines.some((line) => line.includes(link))) link = lines[0]?.[0];
    for (const { links } of rows) for (const other of links) other.tabIndex = other === link ? 0 : -1;
  }

  grid.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || event.target.tagName !== "A") return;
    const lines = visible(), i = lines.findIndex((line) => line.includes(event.target));
    const column = event.target.parentElement.cellIndex, j = lines[i].indexOf(event.target);
    const next = step[0]
      ? lines[i + step[0]]?.find((a) => a.parentElement.cellIndex === column)
      : lines[i][j + step[1]];
    event.preventDefault();
    if (next) { rove(next); next.focus(); }
  });

  function table(fit) {
    const keys = data.rows[`${fit.case}\n${fit.method}`];
    const head = ["quantity", "engine", "reference", "difference", "in", "allowed", "digits", ""];
    const [places, ...columns] = fit.rows;
    const lines = places.map((key, row) => {
      const [estimate, difference, tolerance, digits, ok] = columns.map((column) => column[row]);
      const [what, reference, scale] = keys[key];
      const cells = [estimate, reference, difference, scale, tolerance, digits === "NaN" ? "" : digits].map((value, i) =>
        make("td", value === "NaN" && i < 2 ? "" : shown(value), { class: i === 3 ? "nowrap" : "n" }));
      return make("tr", [make("th", what, { scope: "row" }), ...cells, make("td", ok ? "✓" : "✗ beyond", { class: "nowrap" })], ok ? {} : { class: "beyond" });
    });
    const heads = head.map((name, i) => make("th", name || make("span", "within tolerance", { class: "hidden" }), { scope: "col", class: [1, 2, 3, 5, 6].includes(i) ? "n" : "" }));
    const found = make("table", [make("caption", "Numbers of this fit", { class: "hidden" }), make("thead", make("tr", heads)), make("tbody", lines)]);
    return make("div", found, { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers of this fit" });
  }

  function copied(words) {
    const found = make("div", make("pre", words), { class: "copied" });
    if (!navigator.clipboard) return found;
    const button = make("button", "Copy", { type: "button" });
    button.addEventListener("click", () => navigator.clipboard.writeText(words).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Not allowed here"; }));
    found.append(button);
    return found;
  }

  function open(fit) {
    const about = cases.get(fit.case) ?? {};
    document.getElementById("cell-h").textContent = `${fit.case}, ${fit.method}, ${fit.engine}${fit.profile === "default" ? "" : `, ${fit.profile}`}`;
    const list = make("dl"), say = (name, value) => value !== undefined && value !== "" && list.append(make("dt", name), make("dd", value));
    say("Model", about.formula && make("code", about.formula));
    say("Unexpected", fit.surprise?.endsWith(fit.reason) ? "" : fit.surprise);
    say("Why", fit.reason);
    say("Cause", fit.cause === "none" ? "" : fit.cause);
    say("Told", fit.told);
    say("What to do", fit.advice);
    if (fit.known) {
      const [reason, size, versions, link] = fit.known;
      say("Known", [reason, size, versions].filter(Boolean).join("; "));
      // Only a web address becomes a link: "javascript:" in a case file must not.
      if (link) say("See", /^https?:\/\//.test(link) ? make("a", link, { href: link, rel: "noreferrer" }) : link);
    }
    say("Gap", fit.gap === "NaN" ? "" : `${shown(fit.gap ?? 0)} deviance units above the optimum`);
    say("Log-likelihood", fit.loglik === "NaN" ? "" : shown(fit.loglik));
    say("Time", fit.ms === "NaN" ? "" : `${shown(fit.ms)} ms`);
    say("Software", fit.versions);
    say("Recorded", fit.recorded && `not made on this machine but earlier, by ${fit.recorded}`);
    const parts = [make("p", [make("span", fit.words, { class: `badge ${fit.kind}` }), fit.surprise ? " not expected" : ""]), about.title ? make("p", about.title) : "", list];
    if (fit.messages) parts.push(make("h3", "In its own words"), ...fit.messages.map((words) => make("pre", words)));
    if (fit.rows) parts.push(make("h3", "Numbers"), table(fit));
    if (fit.left) parts.push(make("p", `${fit.left} more rows, of smaller differences, are in results.parquet.`, { class: "note" }));
    if (about.command) {
      const tight = fit.profile === "default" ? "" : ` --profile ${fit.profile}`;
      const command = `lmmbridge repro ${about.command} --engine ${fit.engine} --method ${fit.method}${tight}`;
      parts.push(make("h3", "Do it again"), make("p", "Writes a script that stands alone, data and all, to show to the engine's authors:"), copied(command));
    }
    body.replaceChildren(...parts.filter(Boolean));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    for (const box of body.querySelectorAll(".scroll")) { edges(box); box.addEventListener("scroll", () => edges(box), { passive: true }); }
  }

  function follow() {
    let name = "";
    try { name = decodeURIComponent(location.hash.slice(1)); } catch { return; }
    const fit = fits.get(name);
    if (!fit) { if (dialog.open) dialog.close(); return; }
    for (const [field, value] of [["method", fit.method], ["profile", fit.profile]])
      if (form.elements[field]) form.elements[field].value = value;
    filter();
    rove([...grid.querySelectorAll("a")].find((a) => address(a) === name));
    open(fit);
  }

  dialog.addEventListener("close", () => {
    if (fits.has(decodeURIComponent(location.hash.slice(1)))) history.replaceState(null, "", location.pathname + location.search);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.getElementById("close").addEventListener("click", () => dialog.close());
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  addEventListener("hashchange", follow);
  // As images, nothing in them can run; each is drawn when it is first seen.
  function paint(part) {
    for (const image of part.querySelectorAll("img[data-picture]"))
      image.src ||= `data:image/svg+xml,${encodeURIComponent(data.pictures[image.dataset.picture])}`;
  }
  const pictured = [...document.querySelectorAll("#weights details")];
  for (const part of pictured) part.addEventListener("toggle", () => data && part.open && paint(part));
  let closed = [];
  addEventListener("beforeprint", () => { if (data) pictured.forEach(paint); closed = [...document.querySelectorAll("main details:not([open]):not(.engines)")]; for (const part of closed) part.open = true; });
  addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
  filter();

  async function load() {
    const packed = Uint8Array.from(atob(document.getElementById("data").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    data = JSON.parse(await new Response(stream).text());
    fits = new Map(data.fits.map((fit) => [fit.id, fit]));
    cases = new Map(data.cases.map((found) => [found.name, found]));
    for (const part of pictured) if (part.open) paint(part);
    follow();
    document.documentElement.dataset.ready = "";
  }
  load().catch(() => { document.getElementById("count").textContent += "; cells do not open in this browser, which cannot decompress them"; });
})();
