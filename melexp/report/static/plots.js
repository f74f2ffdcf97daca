"use strict";
// The interactive plots, in the colours of the page's scheme.

{
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");
  const config = { displayModeBar: false, responsive: true }; // a double click resets the zoom

  /** Escape text for plotly, which interprets markup. */
  const plain = (text) =>
    String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const colourOf = (look) => (dark.matches ? look.dark : look.light);
  const faint = (hex) =>
    `rgba(${[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).join(",")},0.15)`;

  function layout(x, y) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = { gridcolor: colour("line"), zeroline: false, automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("text"), family: "system-ui, sans-serif", size: 13 },
      margin: { l: 55, r: 10, t: 10, b: 45 },
      xaxis: { ...axis, ...x, title: { text: x.title } },
      yaxis: { ...axis, ...y, title: { text: y.title } },
      legend: narrow.matches
        ? { orientation: "h", yref: "container", y: 0, yanchor: "bottom", font: { size: 12 } }
        : { orientation: "h", y: 1.02, yanchor: "bottom" },
      hoverlabel: { align: "left" },
      boxmode: "group",
    };
  }

  /** Draw into a panel, and describe the plot in words. */
  function draw(form, traces, axes, what, view) {
    const panel = form.closest(".panel");
    const plot = panel.querySelector(".plot");
    plot.setAttribute("aria-label", what);
    panel.querySelector(".what").textContent = `${what}.`;
    panel.querySelector(".origin").href = `sources.html#${view.anchor}`;
    Plotly.react(plot, traces, axes, config);
  }

  function curves({ view, dataset, metric, form }) {
    const against = form.elements.x.value;
    const traces = [];
    for (const label of view.labels) {
      const curve = view.curves.find(
        (one) => one.label === label && one.dataset === dataset && one.metric === metric,
      );
      if (!curve) continue;
      const look = view.looks[label];
      const colour = colourOf(look);
      const x = curve[against];
      const kind = { name: plain(label), legendgroup: label };
      const single = x.length === 1;
      if (!single && curve.low95.every((value) => value !== null)) {
        traces.push({
          ...kind,
          x: [...x, ...x.toReversed()],
          y: [...curve.high95, ...curve.low95.toReversed()],
          fill: "toself",
          fillcolor: faint(colour),
          line: { width: 0 },
          mode: "lines",
          hoverinfo: "skip",
          showlegend: false,
        });
      }
      traces.push({
        ...kind,
        x,
        y: curve.mean,
        mode: "lines+markers",
        line: { color: colour, dash: look.dash, width: 2 },
        marker: { color: colour, symbol: look.symbol, size: 7 },
        error_y: {
          visible: single && curve.high95[0] !== null,
          type: "data",
          array: [curve.high95[0] - curve.mean[0]],
          color: colour,
        },
        customdata: curve.iteration.map((n, i) => [n, curve.seconds[i], curve.clips[i]]),
        hovertemplate:
          "%{y:.4g} after %{customdata[0]} iterations, %{customdata[1]:.3g} s, " +
          `%{customdata[2]} clips<extra>${plain(label)}</extra>`,
      });
    }
    const title = against === "iteration" ? "iterations" : "seconds per clip";
    const name = metrics[metric].label;
    const start = against === "seconds" ? ", including the time of the start" : "";
    const what = `${name} on ${dataset} against ${title}: mean and 95 % interval over clips${start}`;
    const x = { type: "log", dtick: 1, minor: { ticks: "outside" }, title };
    draw(form, traces, layout(x, { title: plain(name) }), what, view);
  }

  function boxes({ view, dataset, metric, form }) {
    const by = form.elements.by.value;
    const { runs } = view;
    const name = metrics[metric].label;
    const traces = view.labels.map((label) => {
      const chosen = [...runs.label.keys()].filter(
        (run) =>
          runs.label[run] === label &&
          runs[metric][run] !== null &&
          (by === "dataset" || runs.dataset[run] === dataset),
      );
      const colour = colourOf(view.looks[label]);
      return {
        type: "box",
        name: plain(label),
        x: chosen.map((run) => plain(runs[by][run].replaceAll("_", " "))),
        y: chosen.map((run) => runs[metric][run]),
        text: chosen.map((run) => `${plain(runs.clip[run])}, seed ${runs.seed[run]}`),
        boxmean: true,
        boxpoints: "outliers",
        line: { color: colour, width: 1.5 },
        marker: { color: colour, size: 4 },
        showlegend: by !== "label",
        hovertemplate: `%{y:.4g}, %{text}<extra>${plain(label)}</extra>`,
      };
    });
    const axes = layout({ type: "category" }, { title: plain(name) });
    if (by === "label") axes.boxmode = "overlay"; // one box at each position: no groups
    const where = by === "dataset" ? "every data set" : dataset;
    const what = `${name} of each run on ${where}: quartiles, median, mean (dashed)`;
    draw(form, traces, axes, what, view);
  }

  function scatter({ view, dataset, metric, form }) {
    const other = form.elements.other.value;
    const { runs } = view;
    const traces = view.labels.map((label) => {
      const clips = new Map(); // the seeds of each clip
      for (const run of runs.label.keys()) {
        const values = [runs[other][run], runs[metric][run]];
        if (runs.label[run] !== label || runs.dataset[run] !== dataset) continue;
        if (values.includes(null)) continue;
        clips.set(runs.clip[run], [...(clips.get(runs.clip[run]) ?? []), values]);
      }
      const means = (at) =>
        [...clips.values()].map((all) => all.reduce((sum, v) => sum + v[at], 0) / all.length);
      const look = view.looks[label];
      return {
        mode: "markers",
        name: plain(label),
        x: means(0),
        y: means(1),
        text: [...clips.keys()].map(plain),
        marker: { color: colourOf(look), symbol: look.symbol, size: 8 },
        hovertemplate: `%{text}<br>%{x:.4g}, %{y:.4g}<extra>${plain(label)}</extra>`,
      };
    });
    const [x, y] = [other, metric].map((one) => ({ title: plain(metrics[one].label) }));
    const what =
      `${metrics[metric].label} against ${metrics[other].label} on ${dataset}: ` +
      "one mark per clip, the mean over its seeds";
    draw(form, traces, layout(x, y), what, view);
  }

  const redraw = Object.entries({ curves, boxes, scatter }).map(([id, plot]) =>
    follow(document.querySelector(`#${id} form`), plot),
  );
  for (const query of [dark, narrow]) {
    query.addEventListener("change", () => redraw.forEach((again) => again()));
  }
}
