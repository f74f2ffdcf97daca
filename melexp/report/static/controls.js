"use strict";
// What the summary and the plots share: the data, and selects that depend on each other.

const { metrics, views } = JSON.parse(document.getElementById("data").textContent);

/** Fill a select, keep its choice where that is still there, and hide it where there is none. */
function fill(select, options, preferred) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  const values = options.map(([value]) => value);
  const first = values.includes(preferred) ? preferred : values[0];
  select.value = values.includes(before) ? before : first;
  select.closest("label").hidden = options.length < 2;
}

/** The metrics that a view has on a data set (on any, where it is null). */
function metricsOf(view, dataset) {
  return Object.keys(metrics).filter((name) =>
    view.runs[name]?.some(
      (value, run) => value !== null && (dataset === null || view.runs.dataset[run] === dataset),
    ),
  );
}

/** Keep a form's view, data set and metric in step, and tell of every change. */
function follow(form, changed) {
  const { view, dataset, metric, other } = form.elements;
  fill(view, views.map((one, place) => [String(place), one.experiments.join(", ")]));
  const update = () => {
    const chosen = views[view.value];
    fill(dataset, chosen.datasets.map((name) => [name, name]));
    // A plot by data set has them all.
    const all = form.elements.by?.value === "dataset";
    if (all) dataset.closest("label").hidden = true;
    const names = metricsOf(chosen, all ? null : dataset.value);
    fill(metric, names.map((name) => [name, metrics[name].label]));
    if (other) fill(other, names.map((name) => [name, metrics[name].label]), names[1]);
    changed({ view: chosen, dataset: dataset.value, metric: metric.value, form });
  };
  form.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
  return update;
}
