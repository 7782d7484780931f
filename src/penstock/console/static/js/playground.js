/* The playground: a question goes to one or two models, their answers are written into their panes as they come.

   One POST carries the question; its reply is a line of JSON for everything that happens ("began", "said", "ended",
   "failed"), each with the number of its pane. Leaving, stopping and clearing close that reply, which ends the models.

   Promises: what a model says is only ever text of a text node; the page is touched at most 20 times a second however
   fast models write; each pane keeps its own conversation; a turn that failed is no part of it. */
"use strict";

(() => {
  const form = document.querySelector("[data-playground]");
  if (!form) return;

  const PAINT_MS = 50;
  const NEAR_PX = 48;
  const CHARS_A_TOKEN = 4;
  const find = (selector, within = form) => within.querySelector(selector);
  const say = (text) => { document.getElementById("said").textContent = text; };
  const csrf = document.querySelector('meta[name="csrf"]').content;
  const field = {
    message: find("[data-message]"), system: find("[data-system]"), temperature: find("[data-temperature]"),
    tokens: find("[data-tokens]"), stop: find("[data-stop]"), send: find("[data-send]"),
  };
  const AWAY = { message: "Penstock did not answer.", remedy: "It may be restarting. Try again in a moment.", code: "unreachable" };
  const BROKEN = { message: "The answer broke off.", remedy: "Ask again.", code: "stream_cut" };

  const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toPrecision(3)} s`);

  /* --- one side: a model, its conversation, the answer that is being written ---------------------------------------- */

  class Pane {
    constructor(element) {
      this.element = element;
      this.model = find("[data-model]", element);
      this.state = find("[data-state]", element);
      this.talk = find("[data-talk]", element);
      this.hint = find("[data-hint]", element).cloneNode(true);
      this.turns = [];
      this.answer = null;
      this.show();
      this.model.addEventListener("change", () => this.show());
    }

    get isAsked() { return this.model.value !== ""; }

    show(state = this.isAsked ? "ready" : "empty", tone = "") {
      this.state.textContent = state;
      this.state.className = tone ? `badge is-${tone}` : "badge";
      this.element.classList.toggle("is-empty", !this.isAsked && !this.turns.length);
    }

    /* Whoever scrolled up to read is not carried away. */
    get isFollowed() { return this.talk.scrollHeight - this.talk.scrollTop - this.talk.clientHeight < NEAR_PX; }

    follow() { this.talk.scrollTop = this.talk.scrollHeight; }

    clear() {
      this.turns = [];
      this.answer = null;
      this.talk.replaceChildren(this.hint.cloneNode(true));
      this.show();
    }

    ask(message) {
      find("[data-hint]", this.talk)?.remove();
      const mine = document.getElementById("turn-mine").content.cloneNode(true);
      find("[data-said]", mine).textContent = message;
      const theirs = document.getElementById("turn-theirs").content.cloneNode(true).firstElementChild;
      find("[data-who]", theirs).textContent = this.model.value;
      this.talk.append(mine, theirs);
      this.answer = new Answer(this, theirs, message);
      this.follow();
      this.show("asking", "accent");
      return { model: this.model.value, turns: [...this.turns, { role: "user", content: message }] };
    }

    /* What was said stays in the conversation, also when it was stopped half-way. */
    keep(question, text) {
      this.turns.push({ role: "user", content: question }, { role: "assistant", content: text });
    }
  }

  class Answer {
    constructor(pane, element, question) {
      this.pane = pane;
      this.element = element;
      this.question = question;
      this.text = find("[data-said]", element).appendChild(document.createTextNode(""));
      this.thought = find("[data-thinks]", element).appendChild(document.createTextNode(""));
      this.waiting = { text: [], thought: [] };
      this.chars = 0;
      this.began = performance.now();
      this.firstMs = 0;
      this.requestId = "";
      this.isOver = false;
    }

    take(told) {
      if (this.isOver) return;
      if (told.kind === "began") {
        this.requestId = told.request_id;
        this.fact("route", told.route);
      } else if (told.kind === "said") {
        this.said(told);
      } else if (told.kind === "ended") {
        this.end(told);
      } else if (told.kind === "failed") {
        this.fail(told);
      }
    }

    said(told) {
      if (!this.firstMs) {
        this.firstMs = performance.now() - this.began;
        this.pane.show("writing", "accent");
        this.fact("first", seconds(this.firstMs));
      }
      this.chars += (told.text || "").length + (told.thought || "").length;
      if (told.text) this.waiting.text.push(told.text);
      if (told.thought) this.waiting.thought.push(told.thought);
      later();
    }

    /* Called at most 20 times a second. */
    paint() {
      const isFollowed = this.pane.isFollowed;
      if (this.waiting.thought.length) {
        find("[data-thought]", this.element).hidden = false;
        this.thought.appendData(this.waiting.thought.splice(0).join(""));
      }
      if (this.waiting.text.length) this.text.appendData(this.waiting.text.splice(0).join(""));
      if (!this.isOver) {
        if (this.chars) this.fact("tokens", `≈ ${Math.ceil(this.chars / CHARS_A_TOKEN).toLocaleString("en")}`);
        this.fact("total", seconds(performance.now() - this.began));
      }
      if (isFollowed) this.pane.follow();
      this.pane.talk.dataset.paints = Number(this.pane.talk.dataset.paints) + 1;
    }

    over(state, tone) {
      this.isOver = true;
      this.paint();
      this.pane.show(state, tone);
    }

    end(told) {
      const isFollowed = this.pane.isFollowed;
      this.over("done", "ok");
      this.fact("tokens", `${told.input_tokens} in, ${told.output_tokens} out`);
      this.fact("first", told.first);
      this.fact("total", told.total);
      this.fact("pace", told.pace);
      if (told.finish !== "stop") this.fact("finish", told.finish);
      if (this.text.data) this.pane.keep(this.question, this.text.data);
      if (isFollowed) this.pane.follow();
      say(`${this.pane.model.value} has answered.`);
      this.look();
    }

    fail(told) {
      this.over("failed", "bad");
      this.requestId = told.request_id || this.requestId;
      const problem = find("[data-problem]", this.element);
      find("[data-problem-message]", problem).textContent = told.message;
      find("[data-problem-remedy]", problem).textContent = [told.remedy, told.retry && `Try again in ${told.retry}.`].filter(Boolean).join(" ");
      find("[data-problem-code]", problem).textContent = told.code;
      problem.hidden = false;
      this.pane.follow();
      this.look();
    }

    stop() {
      this.over("stopped", "warn");
      this.fact("finish", "stopped by you");
      if (this.text.data) this.pane.keep(this.question, this.text.data);
      this.look();
    }

    fact(name, text) {
      const cell = find(`[data-fact="${name}"]`, this.element);
      cell.textContent = text;
      cell.parentElement.classList.toggle("is-known", Boolean(text));
    }

    /* What it cost is known when the platform has written the request down, about a second later. */
    async look() {
      if (!this.requestId || "noFigures" in form.dataset) return;
      this.fact("cost", "…");
      let known = null;
      try {
        const reply = await fetch(form.dataset.figures + encodeURIComponent(this.requestId));
        known = reply.ok && !reply.redirected ? await reply.json() : null;
      } catch {
        /* Without the figure the answer is still an answer. */
      }
      const isFollowed = this.pane.isFollowed;
      if (!known?.is_known) return this.fact("cost", "not recorded");
      this.fact("cost", known.is_estimated ? `≈ ${known.cost}` : known.cost);
      find('[data-fact="cost"]', this.element).title = known.exact;
      if (known.route) this.fact("route", known.route);
      const link = find("[data-link]", this.element);
      link.href = known.link;
      link.hidden = false;
      if (isFollowed) this.pane.follow();
      return undefined;
    }
  }

  const panes = [...form.querySelectorAll("[data-pane]")].map((element) => new Pane(element));

  /* --- painting ------------------------------------------------------------------------------------------------------- */

  let timer = 0;
  let asking = null;

  function later() {
    if (!timer) timer = setTimeout(paint, PAINT_MS);
  }

  function paint() {
    timer = 0;
    const going = panes.filter((pane) => pane.answer && !pane.answer.isOver);
    for (const pane of going) pane.answer.paint();
    if (going.length && asking) later();
  }

  /* --- asking --------------------------------------------------------------------------------------------------------- */

  function number(input) {
    return input.value.trim() === "" ? null : Number(input.value);
  }

  async function send() {
    const message = field.message.value.trim();
    const asked = panes.filter((pane) => pane.isAsked);
    if (asking || !message || !asked.length || !form.reportValidity()) return;
    const question = {
      panes: asked.map((pane) => pane.ask(message)),
      system: field.system.value,
      temperature: number(field.temperature),
      max_tokens: number(field.tokens),
    };
    field.message.value = "";
    asking = new AbortController();
    busy(true);
    later();
    try {
      await listen(question, asked, asking.signal);
      settle(asked, BROKEN);
    } catch {
      if (asking.signal.aborted) for (const pane of asked) pane.answer?.isOver === false && pane.answer.stop();
      else settle(asked, asked.some((pane) => pane.answer?.requestId) ? BROKEN : AWAY);
    }
    asking = null;
    busy(false);
  }

  async function listen(question, asked, signal) {
    const reply = await fetch(form.dataset.ask, {
      method: "POST",
      body: JSON.stringify(question),
      signal,
      headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf, "HX-Request": "true" },
    });
    if (reply.headers.has("hx-redirect")) return location.reload();
    if (!reply.ok) return settle(asked, problem(await reply.text()));
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return undefined;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line) continue;
        const told = JSON.parse(line);
        asked[told.pane]?.answer?.take(told);
      }
    }
  }

  /* Whoever has no end by now gets this one. */
  function settle(asked, told) {
    for (const pane of asked) {
      if (pane.answer && !pane.answer.isOver) pane.answer.fail(told);
    }
  }

  /* The console's own refusal comes as a fragment; its words are taken as text. */
  function problem(html) {
    const told = new DOMParser().parseFromString(html, "text/html").querySelector(".problem");
    if (!told) return AWAY;
    const words = [...told.querySelectorAll("p")].map((each) => each.textContent);
    return { message: words[0] || AWAY.message, remedy: words[1] || "", code: told.querySelector("code")?.textContent || "" };
  }

  function stop() {
    asking?.abort();
  }

  function busy(isBusy) {
    field.stop.disabled = !isBusy;
    field.send.disabled = isBusy;
    for (const pane of panes) pane.model.disabled = isBusy;
    form.setAttribute("aria-busy", String(isBusy));
    if (!isBusy) field.message.focus();
  }

  function clear() {
    stop();
    for (const pane of panes) pane.clear();
    field.message.focus();
    say("Cleared.");
  }

  function sayParameters() {
    const words = [];
    if (field.system.value.trim()) words.push("system prompt set");
    if (field.temperature.value) words.push(`temperature ${field.temperature.value}`);
    if (field.tokens.value) words.push(`at most ${field.tokens.value} tokens`);
    find("[data-set-said]").textContent = words.length ? `– ${words.join(", ")}` : "";
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  form.addEventListener("input", sayParameters);
  field.stop.addEventListener("click", stop);
  document.querySelector("[data-clear]").addEventListener("click", clear);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && asking && !document.querySelector("dialog[open]")) stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.contains(event.target)) {
      event.preventDefault();
      send();
    }
  });
  addEventListener("pagehide", stop);
  sayParameters();
})();
