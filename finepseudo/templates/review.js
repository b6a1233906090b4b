"use strict";
// One clip at a time: a key names it, the next one comes. Decisions are kept in the browser and saved as a list.
(() => {
  const { run, classes, items, before } = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const store = `finepseudo review ${run} ${items.map((item) => item.key).join(" ")}`;
  const kept = () => { try { return JSON.parse(localStorage.getItem(store)) || {}; } catch { return {}; } };
  const decided = kept(); // key -> class number, or -1 for a rejected clip
  let at = Math.max(0, items.findIndex((item) => !(item.key in decided)));
  const make = (name, attributes = {}, text = "") => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };
  const verdict = (item) =>
    !(item.key in decided) ? "" : decided[item.key] < 0 ? "reject" : decided[item.key] === item.choices[0][0] ? "accept" : "change";
  const keep = () => { try { localStorage.setItem(store, JSON.stringify(decided)); } catch { /* private windows keep nothing */ } };
  const strip = (element, thumbnail, name) => {
    element.style.backgroundImage = thumbnail ? `url(${thumbnail})` : "";
    element.setAttribute("aria-label", name);
  };
  const made = []; // what undo takes back: a place, and what was decided there before
  const decide = (label) => {
    made.push([at, decided[items[at].key]]);
    decided[items[at].key] = label;
    keep();
    go(1);
  };
  const go = (step) => { at = Math.min(items.length - 1, Math.max(0, at + step)); draw(); };
  const undo = () => {
    const [place, earlier] = made.pop() ?? [at, undefined];
    at = place;
    if (earlier === undefined) delete decided[items[at].key];
    else decided[items[at].key] = earlier;
    keep();
    draw();
  };

  function draw() {
    const item = items[at];
    by("count").textContent = `${items.filter((one) => one.key in decided).length} of ${items.length} decided, clip ${at + 1}`;
    strip(by("clip").querySelector(".strip"), item.strip, item.key);
    const title = by("clip").querySelector("h2");
    title.replaceChildren(item.href ? make("a", { href: item.href }, item.key) : item.key);
    by("why").replaceChildren(...item.why.map((text) => make("li", {}, text)));
    by("choices").replaceChildren(...[...item.choices, [-1, null]].map(([label, p], place) => {
      const button = make("button", { type: "button", "aria-pressed": String(decided[item.key] === label) });
      const key = label < 0 ? "0" : String(place + 1);
      button.append(make("b", {}, key), label < 0 ? "reject" : classes[label], make("i", {}, p === null ? "" : `${(100 * p).toFixed(0)} %`));
      button.addEventListener("click", () => decide(label));
      return button;
    }));
    by("other").value = "";
    by("near").replaceChildren(...item.near.map((near) => {
      const box = make("div"), thumbnail = make("div", { class: "strip", role: "img" });
      strip(thumbnail, near.strip, near.key);
      box.append(thumbnail, make("p", {}, `${classes[near.label]}${near.score === null ? "" : `, S ${near.score.toFixed(2)}`}`), make("p", { class: "soft" }, near.key));
      return box;
    }));
    [...by("dots").children].forEach((dot, place) => {
      dot.className = verdict(items[place]);
      dot.setAttribute("aria-current", String(place === at));
    });
  }

  by("other").append(make("option", { value: "" }, "–"), ...classes.map((name, label) => make("option", { value: label }, name)));
  by("other").addEventListener("change", () => by("other").value !== "" && decide(Number(by("other").value)));
  items.forEach((item, place) => {
    const dot = make("button", { type: "button", "aria-label": item.key });
    dot.addEventListener("click", () => { at = place; draw(); });
    by("dots").append(dot);
  });
  by("back").addEventListener("click", () => go(-1));
  by("next").addEventListener("click", () => go(1));
  by("undo").addEventListener("click", undo);
  const quoted = (cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  by("save").addEventListener("click", () => {
    const rows = items.filter((item) => item.key in decided)
      .map((item) => [item.key, decided[item.key] < 0 ? "" : classes[decided[item.key]], verdict(item), item.path]);
    const text = [["key", "class", "verdict", "path"], ...before, ...rows].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: "reviewed.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    const place = "123456789".indexOf(event.key);
    const item = items[at];
    if (place >= 0 && place < item.choices.length) decide(item.choices[place][0]);
    else if (event.key === "0" || event.key === "x") decide(-1);
    else if (event.key === "ArrowRight") go(1);
    else if (event.key === "ArrowLeft") go(-1);
    else if (event.key === "u" || event.key === "Backspace") undo();
  });
  if (items.length) draw();
})();
