/* What moves by itself: an element with data-live listens to a stream of events and paints what comes.

     data-live="/address"          where the stream is
     data-live-into="id"           the element that is painted (default: itself)
     data-live-mode="morph"        the newest fragment replaces the content, what did not change stays (default)
     data-live-mode="prepend"      each fragment is put on top, at most data-live-max stay
     data-live-start="paused"      do not begin before somebody asks

   Promises: at most 20 repaints a second whatever arrives; nothing is painted while the page is not looked at or is
   paused; a lost stream is taken up again, later and later up to 30 s; its state is always shown and said, also that it
   is painted seldomer because requests go first, and how much that came is not on the page (data-live-missing). */
"use strict";

(() => {
  const REPAINT_MS = 50;
  const WAIT_MS = [500, 1000, 2000, 5000, 10000, 30000];
  const WORDS = { live: "Live", paused: "Paused", connecting: "Connecting", reconnecting: "Reconnecting", stopped: "Stopped" };

  class Stream {
    constructor(element, paused) {
      this.element = element;
      this.into = document.getElementById(element.dataset.liveInto) || element;
      this.toggle = document.querySelector("[data-live-toggle]");
      this.isPaused = paused ?? element.dataset.liveStart === "paused";
      this.fragments = [];
      this.painted = 0;
      this.timer = 0;
      this.failures = 0;
      this.follow();
    }

    pause(isPaused) {
      this.isPaused = isPaused;
      this.failures = 0;
      this.follow();
    }

    /* Be connected exactly when somebody wants to see. */
    follow() {
      clearTimeout(this.retry);
      if (this.isPaused || document.hidden) {
        this.close();
        this.show("paused");
      } else if (!this.source) {
        this.connect();
      }
    }

    end() {
      clearTimeout(this.retry);
      this.close();
    }

    close() {
      this.source?.close();
      this.source = null;
      clearTimeout(this.timer);
      this.timer = 0;
      this.fragments = [];
    }

    connect() {
      this.everyS = 0;
      this.show(this.failures ? "reconnecting" : "connecting");
      const address = new URL(this.element.dataset.live, location.href);
      address.searchParams.set("live", "1");
      const source = new EventSource(address);
      this.source = source;
      source.addEventListener("open", () => {
        this.failures = 0;
        this.show("live");
      });
      source.addEventListener("paint", (event) => this.take(event.data));
      source.addEventListener("pace", (event) => this.pace(JSON.parse(event.data)));
      source.addEventListener("problem", (event) => {
        this.close();
        document.getElementById("problems").innerHTML = event.data;
        this.later();
      });
      source.addEventListener("error", () => this.lost(source));
    }

    /* A stream that was refused (401 after signing out, 403) is closed for good: the page itself is asked again. */
    lost(source) {
      if (source !== this.source) return;
      const wasRefused = source.readyState === EventSource.CLOSED;
      this.close();
      if (wasRefused && this.failures >= 3) {
        this.show("stopped");
        return;
      }
      if (wasRefused && this.failures === 0) this.ask();
      this.later();
    }

    async ask() {
      try {
        const reply = await fetch(location.href, { redirect: "manual", headers: { "HX-Request": "false" } });
        if (reply.type === "opaqueredirect") location.reload();
      } catch {
        /* The platform is away; the next attempt tells. */
      }
    }

    later() {
      const base = WAIT_MS[Math.min(this.failures, WAIT_MS.length - 1)];
      this.failures += 1;
      this.show("reconnecting");
      this.retry = setTimeout(() => this.follow(), base * (0.75 + Math.random() / 2));
    }

    /* The platform paints seldomer than it could while it is busy, and leaves out what is too much to read. */
    pace({ every_s: everyS, missing }) {
      this.everyS = everyS;
      this.show("live");
      const note = document.querySelector("[data-live-missing]");
      if (!note) return;
      note.hidden = !missing;
      note.textContent = `${missing.toLocaleString("en")} more came than could be shown here. A filter shows fewer, and all of them.`;
    }

    take(html) {
      if (this.element.dataset.liveMode === "prepend") this.fragments.unshift(html);
      else this.fragments = [html];
      const max = Number(this.element.dataset.liveMax || 100);
      if (this.fragments.length > max) this.fragments.length = max;
      if (!this.timer) {
        const due = Math.max(0, this.painted + REPAINT_MS - performance.now());
        this.timer = setTimeout(() => requestAnimationFrame(() => this.paint()), due);
      }
    }

    paint() {
      this.timer = 0;
      const html = this.fragments.join("");
      this.fragments = [];
      if (!html) return;
      this.painted = performance.now();
      if (this.element.dataset.liveMode === "prepend") this.prepend(html);
      else this.morph(html);
      this.into.dataset.paints = Number(this.into.dataset.paints || 0) + 1;
      document.dispatchEvent(new CustomEvent("penstock:painted", { detail: { into: this.into } }));
    }

    prepend(html) {
      const template = document.createElement("template");
      template.innerHTML = html;
      for (const child of template.content.children) child.classList.add("is-new");
      this.into.prepend(template.content);
      const max = Number(this.element.dataset.liveMax || 100);
      while (this.into.children.length > max) this.into.lastElementChild.remove();
      document.querySelectorAll("[data-live-empty]").forEach((empty) => { empty.hidden = true; });
      document.querySelectorAll("[data-live-full]").forEach((full) => { full.hidden = false; });
    }

    morph(html) {
      if (window.htmx) window.htmx.swap({ target: this.into, text: html, swap: "innerMorph" });
      else this.into.innerHTML = html;
    }

    show(state) {
      const toggle = this.toggle;
      if (!toggle) return;
      toggle.dataset.state = state;
      toggle.setAttribute("aria-pressed", String(this.isPaused));
      const seldom = state === "live" && this.everyS ? `, every ${this.everyS} s` : "";
      toggle.querySelector("[data-live-word]").textContent = WORDS[state] + seldom;
      toggle.title = this.isPaused ? "Go on (p)" : "Pause (p)";
    }
  }

  /* --- the page's stream: one, begun anew when htmx put another part of the page in its place ---------------------- */

  let stream = null;

  function begin() {
    const element = document.querySelector("[data-live]");
    if (stream?.element === element) return;
    const paused = stream?.isPaused;
    stream?.end();
    stream = element && new Stream(element, paused);
    const toggle = document.querySelector("[data-live-toggle]");
    if (toggle) toggle.hidden = !stream;
  }

  begin();
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-live-toggle]")) stream?.pause(!stream.isPaused);
  });
  document.addEventListener("visibilitychange", () => stream?.follow());
  document.addEventListener("htmx:after:swap", begin);
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (event) => event.persisted && stream?.follow());
})();
