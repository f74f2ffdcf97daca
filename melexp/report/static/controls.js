"use strict";
// Shared by the summary and the plots: the data, and selects that depend on each other.

const { metrics, views } = JSON.parse(document.getElementById("data").textContent);

/** Fill a select, keep its choice if that still exists, and hide it if there is no choice. */
function fill(select, options, preferred) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  const values = options.map(([value]) => value);
  const first = values.includes(preferred) ? preferred : values[0];
  select.value = values.includes(before) ? before : first;
  select.closest("label").hidden = options.length < 2;
}

/** Return the metrics of a view on a data set, or on any data set if it is null. */
function metricsOf(view, dataset) {
  return Object.keys(metrics).filter((name) =>
    view.runs[name]?.some(
      (value, run) => value !== null && (dataset === null || view.runs.dataset[run] === dataset),
    ),
  );
}

/** Keep view, data set and metric of a form consistent; call `changed` after every change. */
function follow(form, changed) {
  const { view, dataset, metric, other } = form.elements;
  fill(view, views.map((one, place) => [String(place), one.experiments.join(", ")]));
  const update = () => {
    const chosen = views[view.value];
    fill(dataset, chosen.datasets.map((name) => [name, name]));
    // A plot by data set shows all data sets.
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
