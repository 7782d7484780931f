/* What every page can do: theme, keyboard, dialogs, copying, confirming, tables that sort and filter.
   Everything is asked for by data- attributes; a page works without this file, only less comfortably. */
"use strict";

(() => {
  const root = document.documentElement;
  const find = (selector, within = document) => within.querySelector(selector);
  const say = (text) => {
    const line = find("#said");
    if (line) line.textContent = text;
  };

  /* --- theme: auto → light → dark, kept in a cookie so that the server draws the first frame right ---------------- */

  const THEMES = ["auto", "light", "dark"];

  function setTheme(theme) {
    root.dataset.theme = theme;
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `penstock_theme=${theme}; path=/; max-age=31536000; samesite=lax${secure}`;
    for (const button of document.querySelectorAll("[data-theme-next]")) {
      button.setAttribute("aria-label", `Theme: ${theme}. Change`);
      button.title = `Theme: ${theme}`;
    }
    document.dispatchEvent(new CustomEvent("penstock:theme"));
    say(`Theme: ${theme}`);
  }

  function nextTheme() {
    setTheme(THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length]);
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.dispatchEvent(new CustomEvent("penstock:theme"));
  });

  /* --- dialogs ---------------------------------------------------------------------------------------------------- */

  function open(id) {
    const dialog = document.getElementById(id);
    if (dialog instanceof HTMLDialogElement && !dialog.open) dialog.showModal();
  }

  /* A form with data-confirm is sent only after a dialog; `data-confirm-word` names the button. */
  let waiting = null;

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.confirm || form === waiting) {
      waiting = null;
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    const dialog = find("#confirm");
    find("[data-confirm-text]", dialog).textContent = form.dataset.confirm;
    const yes = find("[data-confirm-yes]", dialog);
    yes.textContent = form.dataset.confirmWord || "Yes";
    yes.onclick = () => {
      dialog.close();
      waiting = form;
      form.requestSubmit(event.submitter && event.submitter.form === form ? event.submitter : undefined);
    };
    dialog.showModal();
  }, true);

  /* What a button with data-downloads sends for is a file: neither htmx nor what follows here is to know. */
  document.addEventListener("submit", (event) => {
    if (event.submitter && "downloads" in event.submitter.dataset) event.stopPropagation();
  }, true);

  /* A form that leaves the page is sent once, however often it is clicked. */
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method === "dialog" || event.target.method === "get") return;
    const button = event.submitter;
    if (button) setTimeout(() => button.setAttribute("disabled", ""), 0);
  });
  addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("form [type=submit][disabled]:not([data-stays-disabled])")) {
      button.removeAttribute("disabled");
    }
  });

  /* --- copying ---------------------------------------------------------------------------------------------------- */

  async function copy(button) {
    const source = button.dataset.copyFrom ? document.getElementById(button.dataset.copyFrom) : null;
    const text = source ? source.value || source.textContent : button.dataset.copy;
    let word = "Copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      if (source) getSelection().selectAllChildren(source);
      word = "Press Ctrl C";
    }
    const label = find("[data-copy-word]", button) || button;
    const before = button.dataset.before || label.textContent;
    button.dataset.before = before;
    label.textContent = word;
    say(word);
    setTimeout(() => { label.textContent = before; }, 1600);
  }

  /* --- clicks ----------------------------------------------------------------------------------------------------- */

  document.addEventListener("click", (event) => {
    const hit = event.target.closest("[data-open],[data-close],[data-copy],[data-copy-from],[data-dismiss],[data-theme-next]");
    if (!hit) return;
    if ("open" in hit.dataset) open(hit.dataset.open);
    else if ("close" in hit.dataset) hit.closest("dialog").close();
    else if ("dismiss" in hit.dataset) hit.closest(hit.dataset.dismiss || ".notice").remove();
    else if ("themeNext" in hit.dataset) nextTheme();
    else copy(hit);
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-theme-choice]")) setTheme(event.target.value);
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });

  /* --- keyboard: g and a letter goes somewhere, / filters, ? helps -------------------------------------------------- */

  let going = 0;
  const stopGoing = () => {
    clearTimeout(going);
    going = 0;
    root.classList.remove("is-going");
  };

  function go(key) {
    stopGoing();
    for (const link of document.querySelectorAll("a[data-key]")) {
      if (link.dataset.key === key) return link.click();
    }
    return undefined;
  }

  const KEYS = {
    g: () => {
      root.classList.add("is-going");
      going = setTimeout(stopGoing, 1500);
    },
    "/": () => {
      const field = find("[data-slash]");
      if (field) {
        field.closest("details")?.setAttribute("open", "");
        field.focus();
        field.select?.();
      }
    },
    "?": () => open("help"),
    t: nextTheme,
    p: () => find("[data-live-toggle]")?.click(),
  };

  /* Ctrl Enter sends a form from a field where Enter begins a line: data-sends. */
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !event.target.matches("[data-sends]")) return;
    event.preventDefault();
    event.target.form.requestSubmit();
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog[open]")) {
      if (event.key === "Escape" && event.target.matches("[data-slash]")) event.target.blur();
      return;
    }
    if (going) {
      event.preventDefault();
      go(event.key);
    } else if (Object.hasOwn(KEYS, event.key)) {
      event.preventDefault();
      KEYS[event.key]();
    }
  });

  /* --- tables: data-sort on a heading, data-filters on a field ------------------------------------------------------ */

  const worth = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return "";
    return cell.dataset.value ?? cell.textContent.trim();
  };

  function sort(heading, column) {
    const body = heading.closest("table").tBodies[0];
    const down = heading.getAttribute("aria-sort") !== "descending" && heading.dataset.sort === "number"
      || heading.getAttribute("aria-sort") === "ascending";
    const order = down ? -1 : 1;
    const compare = heading.dataset.sort === "number"
      ? (a, b) => Number(a) - Number(b)
      : (a, b) => a.localeCompare(b, undefined, { numeric: true });
    const rows = [...body.rows].sort((a, b) => order * compare(worth(a, column), worth(b, column)));
    body.append(...rows);
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    say(`Sorted by ${heading.textContent.trim()}, ${down ? "descending" : "ascending"}`);
  }

  function makeSortable(heading) {
    if (find(".sort", heading)) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(heading, heading.cellIndex));
    heading.append(button);
  }

  function filter(field) {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const table = document.getElementById(field.dataset.filters);
    if (!table) return;
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    say(`${shown} rows`);
  }

  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-filters]")) filter(event.target);
  });

  /* --- htmx: the session's token on every form, a word when the platform cannot be reached --------------------------- */

  document.addEventListener("htmx:config:request", (event) => {
    const token = find('meta[name="csrf"]')?.content;
    const request = event.detail.ctx.request;
    if (token && !["GET", "HEAD"].includes(request.method)) request.headers["X-CSRF-Token"] = token;
  });
  document.addEventListener("htmx:error", () => {
    const told = find("#unreachable");
    const place = find("#problems");
    if (told && place) place.replaceChildren(told.content.cloneNode(true));
  });

  /* --- begin -------------------------------------------------------------------------------------------------------- */

  function upgrade(within) {
    within.querySelectorAll("th[data-sort]").forEach(makeSortable);
    within.querySelectorAll("dialog[data-opens]").forEach((dialog) => { if (!dialog.open) dialog.showModal(); });
    within.querySelectorAll("[data-scrolls]").forEach((wrap) => {
      if (wrap.scrollWidth > wrap.clientWidth || wrap.scrollHeight > wrap.clientHeight) wrap.tabIndex = 0;
      else wrap.removeAttribute("tabindex");
    });
  }

  upgrade(document);
  document.addEventListener("htmx:after:swap", () => upgrade(document));
  document.addEventListener("penstock:painted", () => upgrade(document));
  addEventListener("resize", () => upgrade(document));
  root.classList.add("has-script");
})();
