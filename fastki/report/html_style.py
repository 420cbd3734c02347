"""Style sheet and script of :mod:`fastki.report.html`'s pages. Neither ever holds data."""

STYLE = """
:root { color-scheme: light dark; --ink: #22313f; --paper: #fff; --faint: #5d6b78; --line: #d5dbe0; --tint: #f3f5f7;
  --accent: #b84600; --best: #fdf0e4; }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe6ec; --paper: #14191e; --faint: #9aa7b3; --line: #38434d;
  --tint: #1d242b; --accent: #ff9a52; --best: #3a2a1b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 96rem; padding: 1.5rem 2rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
p, li, dd, figcaption { max-width: 60rem; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0; }
dt { color: var(--faint); }
dd { margin: 0; }
button { font: inherit; color: inherit; background: none; border: 0; cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.command { display: flex; align-items: start; gap: .5rem; background: var(--tint); border: 1px solid var(--line);
  border-radius: 6px; }
.command pre { flex: 1; min-width: 0; margin: 0; padding: .7rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font: .9rem/1.45 ui-monospace, monospace; }
dl:not(:first-of-type), .command + dl { margin-top: .7rem; }
.command button { padding: .7rem 1rem; color: var(--accent); }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .82rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding: .5rem .6rem; }
th, td { text-align: right; padding: .2rem .5rem; white-space: nowrap; border-top: 1px solid var(--line); }
.words { text-align: left; }
td.wraps { white-space: normal; min-width: 14rem; }
thead th { padding: 0; background: var(--tint); vertical-align: bottom; }
thead button { width: 100%; padding: .4rem .5rem; text-align: inherit; font-weight: 600; white-space: nowrap; }
thead button::after { content: " \\2195"; color: var(--faint); opacity: .45; }
[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1; color: var(--accent); }
[aria-sort=descending] button::after { content: " \\2193"; opacity: 1; color: var(--accent); }
tbody th { font-weight: 600; }
tr.best { background: var(--best); font-weight: 600; }
tr.off { color: var(--faint); }
tr.off td:last-child { text-align: left; white-space: normal; }
figure { margin: 0 0 1.6rem; break-inside: avoid; }
figcaption { color: var(--faint); font-size: .9rem; margin-top: .4rem; }
.sheet { background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: .6rem; overflow-x: auto; }
.sheet svg, .sheet img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.sheet svg * { stroke-linejoin: round; stroke-linecap: butt; }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  :root { --ink: #000; --paper: #fff; --faint: #444; --line: #bbb; --tint: #f3f3f3; --accent: #000; --best: #eee; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  table { font-size: 6pt; }
  th, td, thead button { padding: .1rem .2rem; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .wide, .sheet { overflow: visible; border: 0; padding: 0; }
  .command button, thead button::after { display: none; }
}
"""

SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const words = new Intl.Collator(undefined, { numeric: true });
  const compare = (one, other, down) => {
    if (one.missing || other.missing) return one.missing - other.missing;
    const order = one.number !== null && other.number !== null
      ? one.number - other.number : words.compare(one.text, other.text);
    return down ? -order : order;
  };
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    return { row, missing: "missing" in cell.dataset, text: cell.textContent,
      number: value === undefined ? null : Number(value) };
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const whole = rows.filter((row) => !("last" in row.dataset)).map((row) => key(row, column));
    whole.sort((one, other) => compare(one, other, down));
    body.append(...whole.map((one) => one.row), ...rows.filter((row) => "last" in row.dataset));
  }));
}
for (const button of document.querySelectorAll(".command button")) {
  const code = button.parentElement.querySelector("code");
  button.hidden = false;
  button.addEventListener("click", async () => {
    const range = document.createRange();
    range.selectNodeContents(code);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    button.textContent = "Selected";
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // A browser may forbid it: the selection is there to be copied by hand.
    }
  });
}
"""
