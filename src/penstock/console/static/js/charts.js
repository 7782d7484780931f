/* Charts: an element with data-chart is drawn by Chart.js into its canvas, in the colours of the theme.

     {"kind": "line"|"area"|"bar"|"stack", "unit": "money"|"ms"|"count", "labels": [...], "links": [...],
      "series": [{"label": "...", "tone": "1", "values": [...], "kind": "line", "unit": "ms", "links": [...]}]}

   `links` make a bar or point lead somewhere. A series of another unit is measured on the right. When the attribute
   changes (a live page), the chart moves on; it is never made anew. The table beside each chart says the same. */
"use strict";

(() => {
  const charts = new Map();

  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);

  function tone(name) {
    probe.className = `tone-${name}`;
    return getComputedStyle(probe).color;
  }

  const faded = (color, share) => color.replace(/^rgb\((.*)\)$/, `rgba($1, ${share})`);

  /* --- figures ------------------------------------------------------------------------------------------------------ */

  const dollars = (nanos) => {
    const amount = nanos / 1e9;
    if (amount === 0) return "$0";
    const digits = Math.abs(amount) >= 1 ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumSignificantDigits: 3 };
    return `$${amount.toLocaleString("en-US", digits)}`;
  };
  const time = (ms) => (ms < 1000 ? `${Math.round(ms * 10) / 10} ms` : `${Math.round(ms / 10) / 100} s`);
  const count = (number) => number.toLocaleString("en-US", { maximumFractionDigits: 1 });
  const SAY = { money: dollars, ms: time, count };

  /* --- from data to Chart.js ---------------------------------------------------------------------------------------- */

  function dataset(series, chart, position) {
    const kind = series.kind || chart.kind;
    const color = tone(series.tone || String((position % 8) + 1));
    const isLine = kind === "line" || kind === "area";
    return {
      label: series.label,
      type: isLine ? "line" : "bar",
      data: series.values,
      unit: series.unit || chart.unit,
      links: series.links || chart.links,
      yAxisID: series.unit && series.unit !== chart.unit ? "right" : "y",
      borderColor: color,
      backgroundColor: isLine ? faded(color, 0.14) : faded(color, 0.88),
      fill: kind === "area",
      borderWidth: isLine ? 2 : 0,
      borderRadius: isLine ? 0 : 3,
      maxBarThickness: chart.labels.length < 12 ? 64 : 36,
      minBarLength: isLine ? undefined : 0,
      pointRadius: 0,
      pointHitRadius: 12,
      pointHoverRadius: 4,
      cubicInterpolationMode: "monotone",
      stack: kind === "stack" || chart.kind === "stack" ? "all" : undefined,
    };
  }

  function axis(unit, position, stacked) {
    return {
      position,
      stacked,
      beginAtZero: true,
      border: { display: false },
      grid: { color: tone("line"), display: position === "left", tickLength: 0 },
      ticks: { color: tone("quiet"), maxTicksLimit: 5, padding: 8, callback: (value) => SAY[unit](value) },
    };
  }

  function options(chart) {
    const right = chart.series.find((series) => series.unit && series.unit !== chart.unit);
    const stacked = chart.kind === "stack";
    const scales = {
      x: {
        stacked,
        border: { color: tone("line") },
        grid: { display: false },
        ticks: { color: tone("quiet"), maxRotation: 0, autoSkipPadding: 20 },
      },
      y: axis(chart.unit, "left", stacked),
    };
    if (right) scales.right = axis(right.unit, "right", false);
    return {
      responsive: true,
      maintainAspectRatio: false,
      animation: false,
      interaction: { mode: "index", intersect: false },
      onClick: (event, hits, drawn) => follow(event, drawn),
      onHover: (event, hits, drawn) => {
        drawn.canvas.style.cursor = hits.some((hit) => linkOf(drawn, hit)) ? "pointer" : "default";
      },
      plugins: {
        legend: {
          display: chart.series.length > 1,
          align: "end",
          labels: { color: tone("ink"), boxWidth: 10, boxHeight: 10, useBorderRadius: true, borderRadius: 3, padding: 14 },
        },
        tooltip: {
          backgroundColor: tone("surface"),
          borderColor: tone("line"),
          borderWidth: 1,
          titleColor: tone("ink"),
          bodyColor: tone("ink"),
          padding: 10,
          cornerRadius: 8,
          boxPadding: 5,
          filter: (item) => item.chart.data.datasets.length < 6 || item.raw !== 0,
          callbacks: { label: (item) => ` ${item.dataset.label}: ${SAY[item.dataset.unit](item.raw)}` },
        },
      },
      scales,
    };
  }

  const linkOf = (drawn, hit) => drawn.data.datasets[hit.datasetIndex].links?.[hit.index];

  function follow(event, drawn) {
    const exact = drawn.getElementsAtEventForMode(event, "nearest", { intersect: true }, false);
    const near = exact.length ? exact : drawn.getElementsAtEventForMode(event, "index", { intersect: false }, false);
    const link = near.map((hit) => linkOf(drawn, hit)).find(Boolean);
    if (link && link.startsWith("/console/")) location.href = link;
  }

  /* --- drawing ------------------------------------------------------------------------------------------------------ */

  function draw(element) {
    const canvas = element.querySelector("canvas");
    if (!canvas || !window.Chart) return;
    const told = JSON.parse(element.dataset.chart);
    const data = { labels: told.labels, datasets: told.series.map((series, at) => dataset(series, told, at)) };
    const known = charts.get(element);
    if (known && known.canvas === canvas) {
      const shown = data.datasets.map((_, at) => known.isDatasetVisible(at));
      known.data = data;
      known.options = options(told);
      data.datasets.forEach((each, at) => { each.hidden = !shown[at]; });
      known.update("none");
      return;
    }
    known?.destroy();
    charts.set(element, new window.Chart(canvas, { type: "bar", data, options: options(told) }));
    canvas.dataset.drawn = "";
  }

  function all() {
    for (const [element, chart] of charts) {
      if (!element.isConnected) {
        chart.destroy();
        charts.delete(element);
      }
    }
    document.querySelectorAll("[data-chart]").forEach(draw);
  }

  if (!window.Chart) {
    document.querySelectorAll("[data-chart] .wait").forEach((wait) => {
      wait.textContent = "The charting library is not built: run `make console`. The table below says the same.";
    });
    document.querySelectorAll("details.as-table").forEach((details) => { details.open = true; });
    return;
  }
  window.Chart.defaults.font.family = getComputedStyle(document.documentElement).fontFamily;
  window.Chart.defaults.font.size = 12;
  all();
  document.addEventListener("penstock:theme", all);
  document.addEventListener("htmx:after:swap", all);
  new MutationObserver((changes) => {
    new Set(changes.map((change) => change.target)).forEach((element) => element.isConnected && draw(element));
  }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["data-chart"] });
})();
