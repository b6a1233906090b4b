"use strict";
// Tables sort, filter and download; the clips of the page are laid out from their JSON. Nothing is fetched.
(() => {
  const number = (text) => {
    const found = /[-+]?\d[\d,]*\.?\d*(e[-+]?\d+)?/i.exec(text.replace("−", "-"));
    return found ? parseFloat(found[0].replaceAll(",", "")) : NaN;
  };
  const make = (name, attributes = {}, text = "") => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };
  const quoted = (cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const download = (name, rows) => {
    const text = rows.map((row) => row.map((cell) => quoted(String(cell))).join(",")).join("\n") + "\n";
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const byCell = (numeric, down) => (a, b) => {
    if (!numeric) return (down ? -1 : 1) * String(a).localeCompare(String(b), "en", { numeric: true });
    const [x, y] = [number(String(a)), number(String(b))];
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y); // what is no number stays at the end
    return down ? y - x : x - y;
  };
  const sortable = (head, sort) => {
    head.tabIndex = 0;
    head.classList.add("sorts");
    const turn = () => {
      const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : head.classList.contains("n");
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(down);
    };
    head.addEventListener("click", turn);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") (event.preventDefault(), turn());
    });
  };
  const toolbar = (before, name) => {
    const bar = make("div", { class: "bar" });
    before.before(bar);
    bar.find = make("input", { type: "search", placeholder: "filter", "aria-label": `filter ${name}` });
    bar.save = make("button", { type: "button" }, "CSV");
    bar.append(bar.find, bar.save);
    return bar;
  };

  for (const table of document.querySelectorAll("table:not(#all-clips)")) {
    const body = table.tBodies[0];
    const texts = (row) => [...row.cells].map((cell) => cell.textContent.trim());
    [...table.tHead.rows[0].cells].forEach((head, place) =>
      sortable(head, (down) => {
        const compare = byCell(head.classList.contains("n"), down);
        body.append(...[...body.rows].sort((a, b) => compare(texts(a)[place], texts(b)[place])));
      }),
    );
    const bar = toolbar(table.closest(".scroll"), table.id);
    bar.find.hidden = body.rows.length < 8;
    bar.find.addEventListener("input", () => {
      const words = bar.find.value.toLowerCase();
      for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(words);
    });
    bar.save.addEventListener("click", () =>
      download(table.id, [texts(table.tHead.rows[0]), ...[...body.rows].filter((row) => !row.hidden).map(texts)]),
    );
  }

  const held = document.getElementById("clip-data");
  if (!held) return;
  const { classes, root, rows } = JSON.parse(held.textContent);
  const named = (label) => (label < 0 ? "–" : classes[label] ?? `novel class ${label}`);
  const clips = rows.map(([key, path, role, truth, said, confidence, accepted, a, e]) => ({
    key, role, confidence, path: path || root ? root + path : "",
    truth: named(truth), said: named(said), accepted: accepted ? "yes" : role === "pool" ? "no" : "",
    right: truth < 0 || said < 0 ? "" : truth === said ? "yes" : "no", a: named(a), e: named(e),
  }));
  const strips = new Map([...document.querySelectorAll(".clip[data-key]")].map((clip) => [clip.dataset.key, clip]));
  const columns = [
    ["Clip", "key"], ["Role", "role"], ["True class", "truth"], ["Said", "said"], ["Right", "right"],
    ["#Confidence", "confidence"], ["Accepted", "accepted"], ["Vote f_A", "a"], ["Vote f_E", "e"], ["File", "path"],
  ];
  const table = document.getElementById("all-clips");
  const [head, body] = [table.tHead.rows[0], table.tBodies[0]];
  const PAGE = 50;
  let [order, shown] = [clips, PAGE];
  const bar = toolbar(table.closest(".scroll"), "clips");
  const choices = (name, values) => {
    const select = make("select", { "aria-label": name });
    for (const value of ["", ...values]) select.append(make("option", { value }, value || name));
    bar.find.before(select);
    select.addEventListener("change", () => draw(PAGE));
    return select;
  };
  const role = choices("any role", ["test", "pool"]);
  const truth = choices("any true class", classes);
  const said = choices("any class said", classes);
  const right = choices("right or wrong", ["right", "wrong", "accepted"]);
  const count = make("span", { class: "count", "aria-live": "polite" });
  const more = make("button", { type: "button" }, "more");
  bar.append(count);
  table.closest(".scroll").after(more);
  const chosen = () => {
    const words = bar.find.value.toLowerCase();
    const kind = { right: (c) => c.right === "yes", wrong: (c) => c.right === "no", accepted: (c) => c.accepted === "yes" };
    return order.filter((c) =>
      (!role.value || c.role === role.value) && (!truth.value || c.truth === truth.value) &&
      (!said.value || c.said === said.value) && (!right.value || kind[right.value](c)) &&
      (!words || `${c.key} ${c.path}`.toLowerCase().includes(words)));
  };
  const address = (path) =>
    /^https?:/.test(path) ? path : path.startsWith("/") ? "file://" + path.split("/").map(encodeURIComponent).join("/") : "";
  const cell = (clip, name) => {
    const td = make("td", name === "confidence" ? { class: "n" } : {});
    if (name === "confidence") td.textContent = (100 * clip.confidence).toFixed(1);
    else if (name === "path" && address(clip.path)) td.append(make("a", { href: address(clip.path) }, clip.path.split("/").pop()));
    else if (name === "key" && strips.has(clip.key)) td.append(make("a", { href: `#clip-${clip.key}` }, clip.key));
    else td.textContent = clip[name];
    return td;
  };
  function draw(limit) {
    shown = limit;
    const found = chosen();
    body.replaceChildren(...found.slice(0, shown).map((clip) => {
      const row = make("tr");
      row.append(...columns.map(([, name]) => cell(clip, name)));
      return row;
    }));
    count.textContent = `${found.length.toLocaleString("en")} of ${clips.length.toLocaleString("en")} clips`;
    more.hidden = found.length <= shown;
  }
  for (const [text, name] of columns) {
    const numeric = text.startsWith("#");
    const th = make("th", { scope: "col", ...(numeric ? { class: "n" } : {}) }, text.replace("#", ""));
    head.append(th);
    sortable(th, (down) => {
      const compare = byCell(numeric, down);
      order = [...clips].sort((a, b) => compare(a[name], b[name]));
      draw(PAGE);
    });
  }
  bar.find.addEventListener("input", () => draw(PAGE));
  more.addEventListener("click", () => draw(shown + 10 * PAGE));
  bar.save.addEventListener("click", () =>
    download("clips", [columns.map(([text]) => text.replace("#", "")), ...chosen().map((clip) => columns.map(([, name]) => clip[name]))]));
  draw(PAGE);

  const lead = (wanted) => {
    [role.value, truth.value, said.value, right.value] = ["", "", "", ""];
    bar.find.value = "";
    Object.entries(wanted).forEach(([name, value]) => ({ role, truth, said, right })[name].value = value);
    draw(PAGE);
    document.getElementById("clips-table").scrollIntoView();
  };
  for (const square of document.querySelectorAll("rect[data-truth]")) {
    square.addEventListener("click", () => lead({ role: "test", truth: square.dataset.truth, said: square.dataset.said }));
  }
  const link = (id, wanted) => {
    for (const row of document.querySelectorAll(`#${id} tbody tr`)) {
      const texts = [...row.cells].map((one) => one.textContent.trim());
      if (!classes.includes(texts[0])) continue;
      const button = make("button", { type: "button", class: "lead" }, texts[0]);
      button.addEventListener("click", () => lead(wanted(texts)));
      row.cells[0].replaceChildren(button);
    }
  };
  link("confusions", ([a, b]) => ({ role: "test", truth: a, said: b }));
  link("per-class", ([a]) => ({ role: "test", truth: a }));
  link("labels-per-class", ([a]) => ({ role: "pool", said: a, right: "accepted" }));
})();
