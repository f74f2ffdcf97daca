"use strict";
// The listening page: one clip at a time, one player at a time, and the blind comparison.

{
  const articles = [...document.querySelectorAll("article.clip")];
  const { clip: select } = document.getElementById("listen-controls").elements;
  const toggle = document.getElementById("blind-toggle");
  const panel = document.getElementById("blind");
  const clips = document.getElementById("clips");
  const status = document.getElementById("blind-status");
  const button = (name) => document.getElementById(`blind-${name}`);
  const choices = [];
  let pair = null; // the blind comparison: versions A and B, and the choice

  const players = () => document.querySelectorAll("audio");
  const stopOthers = (one) => players().forEach((other) => other !== one && other.pause());
  document.addEventListener("play", (event) => stopOthers(event.target), true);
  const article = () => document.getElementById(select.value);

  function show() {
    stopOthers(null);
    for (const one of articles) one.hidden = one.id !== select.value;
    if (!panel.hidden) draw();
  }

  /** Choose two methods of the clip at random, and assign them to A and B. */
  function draw() {
    const [original, ...methods] = article().querySelectorAll(".version");
    for (let i = methods.length - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1));
      [methods[i], methods[j]] = [methods[j], methods[i]];
    }
    const [A, B = A] = methods;
    pair = { A, B, choice: null, revealed: false };
    for (const [name, version] of Object.entries({ original, A, B })) {
      panel.querySelector(`[data-blind="${name}"]`).src = version.dataset.audio;
      panel.querySelector(`[data-who="${name}"]`).textContent = "";
    }
    for (const radio of panel.querySelectorAll("input")) radio.checked = false;
    button("reveal").disabled = false;
  }

  /** Record a choice for this pair; a later choice for the same pair replaces it. */
  function choose(value) {
    if (pair.choice === null) {
      pair.choice = {};
      choices.push(pair.choice);
    }
    Object.assign(pair.choice, {
      dataset: article().dataset.dataset,
      clip: article().dataset.clip,
      A: pair.A.dataset.label,
      B: pair.B.dataset.label,
      choice: value,
      chosen: value === "none" ? null : pair[value].dataset.label,
      after_reveal: pair.revealed,
      time: new Date().toISOString(),
    });
    button("export").disabled = false;
    status.textContent = `${choices.length} ${choices.length === 1 ? "choice" : "choices"} recorded.`;
  }

  function reveal() {
    pair.revealed = true;
    for (const name of ["A", "B"]) {
      panel.querySelector(`[data-who="${name}"]`).textContent = pair[name].dataset.label;
    }
    button("reveal").disabled = true;
  }

  function save() {
    const text = JSON.stringify({ report: document.title, choices }, null, 1);
    const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const link = Object.assign(document.createElement("a"), { href: url });
    link.download = "melexp-choices.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  toggle.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    clips.hidden = !panel.hidden; // images, scores and labels would reveal the methods
    toggle.setAttribute("aria-pressed", String(!panel.hidden));
    show();
  });
  button("reveal").addEventListener("click", reveal);
  button("next").addEventListener("click", () => (stopOthers(null), draw()));
  button("export").addEventListener("click", save);
  panel.addEventListener("change", (event) => choose(event.target.value));
  select.addEventListener("change", show);
  document.getElementById("listen-controls").addEventListener("submit", (e) => e.preventDefault());

  // Only the players of the visible clip load.
  if (articles.some((one) => `#${one.id}` === location.hash)) select.value = location.hash.slice(1);
  show();
}
