"use strict";
// Draws the charts of the page, keeps their colours with the theme, shows and hides series, sorts and filters tables.
(() => {
  const { charts, themes } = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let printing = false; // paper is light
  const theme = () => (dark.matches && !printing ? themes.dark : themes.light);

  // -- colours: a role, or a share of the chart's scale

  const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const mix = (stops, share) => {
    const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
    const i = Math.min(Math.floor(at), stops.length - 2);
    const [from, to] = [channels(stops[i]), channels(stops[i + 1])];
    return `rgb(${from.map((c, k) => Math.round(c + (to[k] - c) * (at - i)))})`;
  };
  const colourOf = (chart, value) =>
    typeof value === "string" ? theme().roles[value] : mix(chart.diverging ? theme().diverging : theme().scale, value);
  const faded = (hex, alpha) => `rgba(${channels(hex)},${alpha})`;

  // -- marks to traces of plotly

  const line = (chart, m) => ({
    type: "scatter", mode: "lines", x: m.x, y: m.y, name: m.name, meta: m.group, hoverinfo: m.name ? "name+x+y" : "x+y",
    line: { color: colourOf(chart, m.colour), width: m.width * 1.25, dash: m.dash },
  });
  const band = (chart, m) => ({
    type: "scatter", mode: "lines", x: [...m.x, ...[...m.x].reverse()], y: [...m.high, ...[...m.low].reverse()],
    fill: "toself", fillcolor: faded(theme().roles[m.colour], 0.16), line: { width: 0 }, hoverinfo: "skip", meta: m.group,
  });
  const dots = (chart, m) => {
    const colour = Array.isArray(m.colour) ? m.colour.map((v) => colourOf(chart, v)) : colourOf(chart, m.colour);
    const edge = m.square ? { color: theme().soft, width: 0.5 } : { color: colour, width: m.hollow ? 1.2 : 0 };
    return {
      type: "scatter", mode: "markers", x: m.x, y: m.y, name: m.name, meta: m.group,
      text: m.hover, hoverinfo: m.hover ? "text" : "x+y",
      marker: { color: m.hollow ? "rgba(0,0,0,0)" : colour, size: m.size * 1.35, symbol: m.square ? "square" : "circle", line: edge },
      error_y: m.up && { type: "data", array: m.up, arrayminus: m.down, color: theme().soft, thickness: 0.9, width: 0 },
    };
  };
  const trace = (chart, m) => ({ line, band, dots })[m.kind](chart, m);
  const rule = (m) => ({
    type: "line", line: { color: theme().soft, width: 1, dash: m.dash },
    ...(m.side === "x" ? { x0: m.at, x1: m.at, xref: "x", y0: 0, y1: 1, yref: "paper" }
                       : { y0: m.at, y1: m.at, yref: "y", x0: 0, x1: 1, xref: "paper" }),
  });
  const axis = (a) => ({
    title: { text: a.label, standoff: 8, font: { size: 12.5 } }, type: a.log ? "log" : "linear", range: a.range,
    tickmode: "array", tickvals: a.ticks, ticktext: a.text, gridcolor: theme().grid, zeroline: false,
    linecolor: theme().soft, automargin: true, tickangle: 0, ticks: "outside", ticklen: 3, tickcolor: theme().soft,
  });

  const layout = (panel) => ({
    margin: { l: 8, r: 12, t: 6, b: 8 }, showlegend: false, hovermode: "closest", dragmode: "zoom",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 11.5, color: theme().ink },
    xaxis: axis(panel.x), yaxis: axis(panel.y), modebar: { bgcolor: "rgba(0,0,0,0)", color: theme().soft },
    shapes: panel.marks.filter((m) => m.kind === "rule").map(rule),
  });
  const settings = (name) => ({
    responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    toImageButtonOptions: { format: "svg", filename: name },
  });

  // Zoomed in, the round ticks of the whole range are too few: plotly chooses others until the range is whole again.
  const retick = (plot, panel, change) => {
    if (plot.reticking) return;
    const whole = Object.keys(change).some((key) => key.endsWith("autorange"));
    const zoomed = Object.keys(change).some((key) => key.includes(".range"));
    if (!whole && !zoomed) return;
    plot.reticking = true;
    const mode = (a) => (whole ? { tickmode: "array", range: a.range } : { tickmode: "auto" });
    const flat = {};
    for (const side of ["x", "y"])
      for (const [key, value] of Object.entries(mode(panel[side]))) flat[`${side}axis.${key}`] = value;
    Plotly.relayout(plot, flat).then(() => { plot.reticking = false; });
  };

  // -- a figure: its panels and one legend for all of them

  const hidden = new Map(); // figure -> groups that are not shown
  const isShown = (figure, group) => !group || !hidden.get(figure).has(group);
  const draw = (figure) => {
    const chart = charts[figure.dataset.chart];
    return Promise.all([...figure.querySelectorAll(".plot")].map((plot, i) => {
      const panel = chart.panels[i];
      const traces = panel.marks.filter((m) => m.kind !== "rule").map((m) => trace(chart, m));
      for (const t of traces) t.visible = isShown(figure, t.meta);
      return Plotly.react(plot, traces, layout(panel), settings(figure.dataset.chart)).then(() => {
        if (plot.dataset.ready) return;
        plot.dataset.ready = "1";
        plot.on("plotly_relayout", (change) => retick(plot, panel, change));
      });
    }));
  };
  const toggle = (figure, group, button) => {
    const gone = hidden.get(figure);
    if (!gone.delete(group)) gone.add(group);
    button.setAttribute("aria-pressed", String(!gone.has(group)));
    for (const plot of figure.querySelectorAll(".plot")) {
      const mine = plot.data.flatMap((t, i) => (t.meta === group ? [i] : []));
      if (mine.length) Plotly.restyle(plot, { visible: !gone.has(group) }, mine);
    }
  };
  const legend = (figure) => {
    const chart = charts[figure.dataset.chart];
    const seen = new Map();
    // What the scale of the colours tells stands in its bar alone.
    for (const panel of chart.panels)
      for (const m of panel.marks) if (m.name && typeof m.colour === "string" && !seen.has(m.group)) seen.set(m.group, m);
    const box = figure.querySelector(".legend");
    box.replaceChildren(...[...seen].map(([group, m]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "show or hide";
      button.setAttribute("aria-pressed", String(isShown(figure, group)));
      const chip = document.createElement("i");
      chip.className = m.kind === "dots" ? (m.hollow ? "ring" : "dot") : m.dash;
      chip.style.color = colourOf(chart, Array.isArray(m.colour) ? m.colour[0] : m.colour);
      button.append(chip, m.name);
      button.addEventListener("click", () => toggle(figure, group, button));
      return button;
    }));
  };
  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const drawAll = async () => {
    document.body.dataset.drawn = "";
    for (const figure of figures) {
      if (!hidden.has(figure)) hidden.set(figure, new Set());
      legend(figure);
      await draw(figure);
      await new Promise((done) => setTimeout(done)); // lets the page answer between two figures
    }
    document.body.dataset.drawn = "all";
  };
  dark.addEventListener("change", drawAll);
  drawAll();

  // -- folded sections: a link to what is in one opens it, and its figures take their place

  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  document.addEventListener("click", (event) => { // also where the address has that hash already
    if (event.target.closest("a[href^='#']")) setTimeout(open);
  });
  open();
  for (const part of document.querySelectorAll("details"))
    part.addEventListener("toggle", () => {
      if (part.open) for (const plot of part.querySelectorAll(".plot[data-ready]")) Plotly.Plots.resize(plot);
    });

  // -- paper: light colours, and drawings that shrink with their panels

  const redraw = () => { for (const figure of figures) { legend(figure); draw(figure); } };
  const toPaper = () => {
    printing = true;
    if (dark.matches) redraw();
    for (const plot of document.querySelectorAll(".plot[data-ready]")) {
      for (const svg of plot.querySelectorAll(".main-svg")) {
        const [width, height] = ["width", "height"].map((side) => svg.getAttribute(side));
        svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
        plot.style.setProperty("--shape", `${width} / ${height}`);
      }
    }
  };
  const toScreen = () => {
    printing = false;
    for (const svg of document.querySelectorAll(".plot .main-svg")) svg.removeAttribute("viewBox");
    if (dark.matches) redraw();
  };
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", toScreen);

  // -- tables: a click on a heading sorts, the field above filters

  const keyOf = (cell) => cell.dataset.v ?? cell.textContent.trim();
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // empty cells last, whichever way
    const [p, q] = [Number(a), Number(b)];
    return Number.isNaN(p) || Number.isNaN(q) ? a.localeCompare(b, "en", { numeric: true }) : p - q;
  };
  const sort = (table, column, heading) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((r, s) => {
      const [a, b] = [keyOf(r.cells[column]), keyOf(s.cells[column])];
      return a === "" || b === "" ? compare(a, b) : (down ? -1 : 1) * compare(a, b);
    });
    table.tBodies[0].append(...rows);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, i) => {
      const button = heading.querySelector("button");
      button.addEventListener("click", () => sort(table, i, heading));
    });
    const field = table.closest("section").querySelector("input[type=search]");
    const count = table.closest("section").querySelector("output");
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const text = [...row.cells].map((cell) => `${cell.textContent} ${cell.dataset.v ?? ""}`).join(" ").toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
    });
  }
})();
