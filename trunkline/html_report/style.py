"""How the page looks, by light and by dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fcfcfb; --panel: #ffffff; --ink: #1d2530; --soft: #5c6875; --rule: #e4e7eb;
  --one: #2463c4; --two: #c2570c; --wrong: #c8352b; --on: #ffffff; --empty: #f1f3f5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181d; --panel: #1b2027; --ink: #e4e8ed; --soft: #98a4b1; --rule: #2c343e;
    --one: #6ea6ff; --two: #f0975a; --wrong: #ff7a6e; --on: #10141a; --empty: #222932;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums lining-nums; -webkit-text-size-adjust: 100%;
}
main { max-width: 66rem; margin: 0 auto; padding: 3.5rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.015em; margin: 0; font-weight: 650;
  overflow-wrap: anywhere; }
h1 small { font-size: 1rem; font-weight: 500; color: var(--soft); letter-spacing: 0;
  white-space: nowrap; }
h2 { font-size: 1.15rem; letter-spacing: -.005em; margin: 3.2rem 0 .3rem; font-weight: 650; }
p { margin: .3rem 0 1rem; max-width: 42rem; }
.about, .note, figcaption, caption { color: var(--soft); }
.about { margin: .5rem 0 0; overflow-wrap: anywhere; }
.note, figcaption, caption { font-size: .875rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1px;
  margin: 2rem 0 0; background: var(--panel); border: 1px solid var(--rule);
  border-radius: 10px; overflow: hidden; }
.tiles div { box-shadow: 0 0 0 1px var(--rule); padding: .9rem 1.1rem 1rem; }
.tiles dt { color: var(--soft); font-size: .8125rem; }
.tiles dd { margin: .1rem 0 0; font-size: 1.6rem; line-height: 1.2; font-weight: 600;
  letter-spacing: -.02em; }
.tiles dd small { display: block; font-size: .8125rem; font-weight: 400; color: var(--soft);
  letter-spacing: 0; margin-top: .2rem; }
.reasons { max-width: 42rem; margin: .3rem 0 1rem; padding-left: 1.2rem; }
.reasons li { margin: .3rem 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(28rem, 1fr)); gap: 0 2.5rem;
  align-items: start; }
figure { margin: .8rem 0 0; min-width: 0; }
svg { display: block; max-width: 100%; height: auto; overflow: visible; font-size: 13px;
  fill: var(--ink); }
svg text { fill: var(--soft); }
svg .value { fill: var(--ink); font-weight: 600; }
svg .axis-title { font-size: 12.5px; }
.grid { stroke: var(--rule); }
.axis { stroke: var(--soft); }
.line { fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
.line.one { stroke: var(--one); } .line.two { stroke: var(--two); }
.line.quiet { stroke: var(--soft); }
.line.ideal { stroke: var(--soft); stroke-width: 1.25; stroke-dasharray: 4 4; }
.dot { stroke: var(--ground); stroke-width: 1.5; }
.dot.one, .bar.one, .right { fill: var(--one); } .dot.two, .bar.two { fill: var(--two); }
.dot.quiet, .dot.ideal { fill: var(--soft); } .span.quiet { fill: var(--soft); }
.span { fill-opacity: .28; } .span.one { fill: var(--one); } .span.two { fill: var(--two); }
.bar { fill-opacity: .55; }
.wrong { fill: var(--wrong); } .empty { fill: var(--empty); }
.cells text { fill: var(--ink); } .cells text.on { fill: var(--on); font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: .2rem 0 0; padding: 0;
  list-style: none; font-size: .875rem; color: var(--soft); }
.legend li::before { content: ""; display: inline-block; width: .7em; height: .7em;
  margin-right: .45em; border-radius: 50%; background: var(--one); }
.legend li.two::before { background: var(--two); border-radius: 0; transform: rotate(45deg);
  width: .62em; height: .62em; }
.legend li.ideal::before { background: none; border-top: 2px dashed var(--soft); border-radius: 0;
  width: 1.3em; height: .25em; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
caption { text-align: left; padding: 0 0 .4rem; }
th, td { text-align: left; padding: .42rem 1.5rem .42rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: middle; }
tbody th { font-weight: 400; overflow-wrap: break-word; }
thead th { color: var(--soft); font-weight: 500; font-size: .8125rem; vertical-align: bottom; }
.number, .gauge { text-align: right; white-space: nowrap; }
.scroll { overflow-x: auto; margin-top: 1.2rem; }
figure > .scroll { margin-top: 0; }
thead th.number { white-space: normal; }
th:last-child, td:last-child { padding-right: 0; }
tr.chosen th, tr.chosen td { font-weight: 650; }
td.gauge { min-width: 7rem; }
td.gauge svg { width: 100%; height: 4px; margin-top: 3px; border-radius: 2px; }
code { font: .875em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.long { overflow-wrap: anywhere; }
.pictured { display: flex; align-items: center; gap: .7rem; }
.thumbnail { flex: none; width: 3rem; height: 3rem; object-fit: contain; border-radius: 4px;
  background: var(--empty); }
pre { margin: .8rem 0 0; padding: .9rem 1.1rem; overflow-x: auto; background: var(--panel);
  border: 1px solid var(--rule); border-radius: 10px; font-size: .9375rem; line-height: 1.45; }
footer { margin-top: 4rem; color: var(--soft); font-size: .8125rem; }
@media print { main { padding: 0; max-width: none; } section { break-inside: avoid; } }
@media (max-width: 32rem) { main { padding: 2rem 1rem 3rem; } .pair { display: block; } }
"""
