// Plays recorded runs: the films that player.py describes. All that a run wrote goes in as text.
"use strict";

(() => {
  const LANE = 18; // pixels
  const NAMES = 130; // pixels for the lanes' names
  const TITLE = 22;
  const COLOURS = { wait: "idle", recv: "idle", accept: "idle", "pipe.read": "idle", "lock.hold": "hold", "lock.wait": "wait", crowded: "wait", "pipe.write": "pipe", send: "send", keep: "disk", save: "disk", hash: "hash", fork: "fork" };
  const SPEEDS = [1, 10, 100, 1000]; // milliseconds in which one of the run goes by
  const LEAST = 20; // microseconds: the shortest window
  const UPDATE = 120; // milliseconds between two updates of the table while it plays

  const colourOf = (kind) => COLOURS[kind] ?? "disk";
  const say = (text, values) => text.replace(/\{(\w+)\}/g, (hole, name) => values?.[name] ?? hole);
  const ms = (time) => (time / 1000).toFixed(3);

  function made(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  /** Return the place of the last number in a sorted list that is not above `value`, or -1. */
  function lastUpTo(list, value) {
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle] <= value) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** One run: its bars by lane, each with the bar around it, and its lines by lane. */
  class Film {
    constructor(data) {
      Object.assign(this, data);
      this.byLane = data.lanes.map(() => ({ begins: [], ends: [], bars: [], around: [] }));
      this.linesOf = data.lanes.map(() => ({ times: [], lines: [] }));
      this.samplesOf = data.lanes.map(() => ({ times: [], samples: [] }));
      const [lanes, begins, ends] = data.bars;
      const open = data.lanes.map(() => []);
      for (let bar = 0; bar < lanes.length; bar += 1) {
        const lane = this.byLane[lanes[bar]];
        const stack = open[lanes[bar]];
        const end = ends[bar] < 0 ? Infinity : ends[bar];
        while (stack.length && lane.ends[stack.at(-1)] <= begins[bar]) stack.pop();
        lane.around.push(stack.at(-1) ?? -1);
        stack.push(lane.begins.length);
        lane.begins.push(begins[bar]);
        lane.ends.push(end);
        lane.bars.push(bar);
      }
      for (const line of data.lines) {
        this.linesOf[line[0]].times.push(line[1]);
        this.linesOf[line[0]].lines.push(line);
      }
      for (const sample of data.samples) {
        this.samplesOf[sample[1]].times.push(sample[0]);
        this.samplesOf[sample[1]].samples.push(sample);
      }
      this.numbers = data.messages.filter((one) => one[2] !== null).sort((a, b) => a[2] - b[2]);
      this.numberTimes = this.numbers.map((one) => one[2]);
      const times = new Set([...begins, ...ends, ...data.lines.map((line) => line[1])]);
      times.delete(-1);
      this.times = [...times].sort((a, b) => a - b);
    }

    /** Return the bars around a moment in a lane, the innermost first. */
    barsAt(lane, time) {
      const { begins, ends, bars, around } = this.byLane[lane];
      const found = [];
      for (let at = lastUpTo(begins, time); at >= 0; at = around[at]) {
        if (ends[at] > time) found.push(bars[at]);
      }
      return found;
    }

    kind(bar) {
      return this.kinds[this.bars[3][bar]];
    }

    what(bar) {
      return this.about[this.bars[4][bar]];
    }

    end(bar) {
      return this.bars[2][bar] < 0 ? this.length : this.bars[2][bar];
    }

    /** Return the lane that holds a lock at a moment, or -1. */
    holder(lock, time) {
      for (let lane = this.clients; lane < this.lanes.length; lane += 1) {
        const holds = (bar) => this.kind(bar) === "lock.hold" && this.what(bar) === lock;
        if (this.barsAt(lane, time).some(holds)) return lane;
      }
      return -1;
    }
  }

  class Player {
    constructor(root) {
      const { films, texts } = JSON.parse(root.querySelector("script").textContent);
      this.root = root;
      this.texts = texts;
      this.films = films.map((film) => new Film(film));
      this.length = Math.max(1, ...this.films.map((film) => film.length));
      this.time = 0;
      this.view = [0, this.length];
      this.playing = false;
      this.updated = 0;
      this.arrow = null; // of the message that was jumped to
      this.picture = document.createElement("canvas"); // what does not change from frame to frame
      this.make();
      this.draw();
      this.tell();
    }

    // -- Its parts

    make() {
      const { texts, root } = this;
      const button = (text, act) => {
        const one = made("button", { type: "button" }, text);
        one.addEventListener("click", act);
        return one;
      };
      this.playButton = button(`▶ ${texts.play}`, () => this.toggle());
      this.speed = made("select", {}, ...SPEEDS.map((count) => made("option", { value: count }, say(texts.slow_motion, { count }))));
      this.speed.value = "100";
      const moves = made("div", { class: "bar" }, this.playButton,
        button(`← ${texts.back}`, () => this.step(-1)), button(`→ ${texts.step}`, () => this.step(1)),
        button(`+ ${texts.closer}`, () => this.zoom(0.5)), button(`− ${texts.farther}`, () => this.zoom(2)),
        button(texts.whole, () => this.show(0, this.length)), made("label", {}, `${texts.speed} `, this.speed));
      const jumps = made("div", { class: "bar" }, button(texts.slowest, () => this.slowest()),
        button(texts.wrong, () => this.firstWrong()), button(texts.longest, () => this.longest()));
      this.slider = made("input", { type: "range", min: 0, max: this.length, step: 1, "aria-label": texts.time });
      this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
      this.canvas = made("canvas", { role: "img", "aria-label": texts.picture });
      this.canvas.addEventListener("click", (event) => this.go(this.timeAt(event.offsetX)));
      this.clock = made("p", {});
      this.said = made("p", { "aria-live": "polite" });
      this.moment = made("div", { class: "moment" });
      const kinds = new Set(this.films.flatMap((film) => film.kinds.map(colourOf)));
      const keys = Object.entries(texts.legend).filter(([name]) => kinds.has(name))
        .map(([name, text]) => made("span", {}, made("i", { class: name }), ` ${text} `));
      const legend = made("p", { class: "legend" }, ...keys, texts.arrows);
      root.append(moves, jumps, this.clock, this.slider, this.canvas, legend, this.said, this.moment, made("p", {}, texts.keys));
      root.tabIndex = -1;
      root.setAttribute("role", "group");
      root.setAttribute("aria-label", texts.name);
      root.addEventListener("keydown", (event) => this.key(event));
      new ResizeObserver(() => this.draw()).observe(this.canvas);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }

    key(event) {
      if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("select")) return;
      const isPress = event.target.matches("button") && event.key === " ";
      const act = {
        " ": () => this.toggle(),
        ArrowLeft: () => this.step(-1),
        ArrowRight: () => this.step(1),
        "+": () => this.zoom(0.5),
        "-": () => this.zoom(2),
        Home: () => this.go(0),
        End: () => this.go(this.length),
      }[event.key];
      if (!act || isPress) return;
      event.preventDefault();
      act();
    }

    // -- Time

    toggle() {
      this.playing = !this.playing;
      this.playButton.textContent = this.playing ? `❚❚ ${this.texts.pause}` : `▶ ${this.texts.play}`;
      if (!this.playing) return this.tell();
      if (this.time >= this.length) this.go(0);
      this.before = null;
      requestAnimationFrame((now) => this.frame(now));
    }

    frame(now) {
      if (!this.playing) return;
      const passed = now - (this.before ?? now);
      this.before = now;
      this.time = Math.min(this.length, this.time + (passed / Number(this.speed.value)) * 1000);
      if (this.time > this.view[1]) this.show(this.time, this.time + this.view[1] - this.view[0]);
      this.drawMoment();
      if (now - this.updated > UPDATE) {
        this.updated = now;
        this.tell();
      }
      if (this.time >= this.length) this.toggle();
      else requestAnimationFrame((next) => this.frame(next));
    }

    go(time) {
      this.time = Math.min(Math.max(time, 0), this.length);
      const [begin, end] = this.view;
      if (this.time < begin || this.time > end) this.show(this.time - (end - begin) / 2, this.time + (end - begin) / 2);
      else this.drawMoment();
      this.tell();
    }

    /** Go to the next event of any run, or to the one before. */
    step(by) {
      const next = this.films.map(({ times }) => (by > 0 ? times[lastUpTo(times, this.time) + 1] : times[lastUpTo(times, this.time - 0.001)]));
      const known = next.filter((time) => time !== undefined);
      if (known.length) this.go(by > 0 ? Math.min(...known) : Math.max(...known));
    }

    zoom(by) {
      const half = Math.max(((this.view[1] - this.view[0]) * by) / 2, LEAST / 2);
      this.show(this.time - half, this.time + half);
    }

    /** Show this part of the runs. */
    show(begin, end) {
      const length = Math.min(end - begin, this.length);
      const from = Math.min(Math.max(begin, 0), this.length - length);
      this.view = [from, from + length];
      this.draw();
    }

    // -- Jumps

    slowest() {
      let best = null;
      for (const film of this.films) {
        for (const one of film.messages) {
          if (one[1] === null || one[2] === null) continue;
          if (!best || one[2] - one[1] > best.one[2] - best.one[1]) best = { film, one };
        }
      }
      if (!best) return this.tellText(this.texts.none);
      const [number, said, heard, sender, listener] = best.one;
      this.arrow = best;
      this.jump(said, heard);
      const names = { sender: best.film.lanes[sender], listener: best.film.lanes[listener] };
      this.tellText(say(this.texts.message, { run: best.film.title, number, ...names, time: ms(heard - said) }));
    }

    firstWrong() {
      const wrong = this.films.filter((film) => film.wrong).sort((a, b) => a.wrong[0] - b.wrong[0])[0];
      if (!wrong) return this.tellText(this.texts.no_wrong);
      const [at, , why] = wrong.wrong;
      this.jump(at, at + LEAST * 10);
      this.tellText(say(this.texts.wrong_line, { run: wrong.title, why }));
    }

    longest() {
      let best = null;
      for (const film of this.films) {
        for (let bar = 0; bar < film.bars[0].length; bar += 1) {
          if (COLOURS[film.kind(bar)] !== "wait" && film.kind(bar) !== "pipe.write") continue;
          const long = film.end(bar) - film.bars[1][bar];
          if (!best || long > best.long) best = { film, bar, long };
        }
      }
      if (!best) return this.tellText(this.texts.none);
      const { film, bar, long } = best;
      this.jump(film.bars[1][bar], film.end(bar));
      const text = film.bars[2][bar] < 0 ? this.texts.open : this.texts.wait;
      this.tellText(say(text, { run: film.title, who: film.lanes[film.bars[0][bar]], does: this.words(film, bar), time: ms(long) }));
    }

    /** Show a span of time with something around it, and stand at its begin. */
    jump(begin, end) {
      if (this.playing) this.toggle();
      const around = Math.max((end - begin) * 0.5, LEAST);
      this.time = Math.min(Math.max(begin, 0), this.length);
      this.show(begin - around, end + around);
      this.tell();
    }

    tellText(text) {
      this.said.textContent = text;
    }

    words(film, bar) {
      const kind = film.kind(bar);
      return say(this.texts.kind[kind] ?? kind, { what: film.what(bar) });
    }

    // -- What is drawn

    timeAt(x) {
      const [begin, end] = this.view;
      return begin + ((x - NAMES) / (this.canvas.clientWidth - NAMES - 4)) * (end - begin);
    }

    x(time) {
      const [begin, end] = this.view;
      return NAMES + ((time - begin) / (end - begin)) * (this.canvas.clientWidth - NAMES - 4);
    }

    /** Draw all that stays while it plays, and then the moment. */
    draw() {
      const wide = this.canvas.clientWidth;
      const high = this.films.reduce((sum, film) => sum + TITLE + film.lanes.length * LANE + 8, 4);
      if (!wide) return; // folded
      const ratio = window.devicePixelRatio || 1;
      this.canvas.style.height = `${high}px`;
      for (const canvas of [this.canvas, this.picture]) {
        canvas.width = Math.round(wide * ratio);
        canvas.height = Math.round(high * ratio);
      }
      const pen = this.picture.getContext("2d");
      pen.scale(ratio, ratio);
      const style = getComputedStyle(this.root);
      this.colour = (name) => style.getPropertyValue(`--${name}`).trim() || style.color;
      this.ink = style.color;
      this.tops = [];
      let top = 0;
      for (const film of this.films) {
        pen.fillStyle = this.ink;
        pen.font = "bold 13px system-ui, sans-serif";
        pen.fillText(film.title, 0, top + 15, wide);
        this.tops.push(top + TITLE);
        film.lanes.forEach((name, lane) => this.drawLane(pen, film, lane, top + TITLE + lane * LANE));
        top += TITLE + film.lanes.length * LANE + 8;
      }
      this.drawMoment();
    }

    drawLane(pen, film, lane, top) {
      const middle = top + LANE / 2;
      pen.fillStyle = this.ink;
      pen.font = "11px system-ui, sans-serif";
      pen.fillText(film.lanes[lane], 4, middle + 4, NAMES - 10);
      pen.save();
      pen.beginPath();
      pen.rect(NAMES, top, this.canvas.clientWidth - NAMES, LANE);
      pen.clip();
      this.drawBars(pen, film, lane, middle);
      this.drawLines(pen, film, lane, middle);
      pen.restore();
    }

    /** Draw a lane's bars. One that would begin at the same pixel as the last one of its kind, and
        end there, too, is left out: so a hundred thousand are soon drawn. */
    drawBars(pen, film, lane, middle) {
      const { begins, ends, bars, around } = film.byLane[lane];
      const last = {};
      let first = Math.max(lastUpTo(begins, this.view[0]), 0);
      const outer = [];
      for (let at = around[first] ?? -1; at >= 0; at = around[at]) outer.unshift(at);
      const draw = (at) => {
        const kind = film.kind(bars[at]);
        const colour = colourOf(kind);
        const left = this.x(Math.max(begins[at], this.view[0]));
        const right = Math.max(this.x(Math.min(ends[at], this.view[1])), left + 1);
        if (right <= (last[colour] ?? -1)) return;
        last[colour] = right;
        pen.fillStyle = pen.strokeStyle = this.colour(colour);
        if (colour === "hold") pen.strokeRect(left, middle - 7.5, right - left, 15);
        else if (colour === "idle") pen.fillRect(left, middle - 1, right - left, 2);
        else pen.fillRect(left, middle - (colour === "wait" ? 6 : 4), right - left, colour === "wait" ? 12 : 8);
      };
      outer.forEach(draw);
      for (; first < begins.length && begins[first] <= this.view[1]; first += 1) {
        if (ends[first] >= this.view[0]) draw(first);
      }
    }

    drawLines(pen, film, lane, middle) {
      const { times, lines } = film.linesOf[lane];
      let last = {};
      for (let at = Math.max(lastUpTo(times, this.view[0]), 0); at < times.length && times[at] <= this.view[1]; at += 1) {
        const x = this.x(times[at]);
        const down = lines[at][2] === "sends" || lines[at][2] === "types";
        if (x < NAMES || x < (last[down] ?? -9) + 1) continue;
        last[down] = x;
        pen.fillStyle = down ? this.ink : this.colour("send");
        pen.beginPath();
        pen.moveTo(x - 4, middle + (down ? -6 : 6));
        pen.lineTo(x + 4, middle + (down ? -6 : 6));
        pen.lineTo(x, middle);
        pen.fill();
      }
    }

    drawMoment() {
      const pen = this.canvas.getContext("2d");
      const ratio = window.devicePixelRatio || 1;
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
      if (!this.picture.width) return;
      pen.drawImage(this.picture, 0, 0);
      pen.scale(ratio, ratio);
      pen.strokeStyle = pen.fillStyle = this.colour("here");
      pen.lineWidth = 2;
      this.drawArrow(pen);
      const x = this.x(this.time);
      pen.beginPath();
      pen.moveTo(x, 0);
      pen.lineTo(x, this.canvas.height);
      pen.stroke();
      this.slider.value = this.time;
      this.clock.textContent = say(this.texts.at, { time: ms(this.time), length: ms(this.length) });
    }

    drawArrow(pen) {
      if (!this.arrow) return;
      const [, said, heard, sender, listener] = this.arrow.one;
      const top = this.tops[this.films.indexOf(this.arrow.film)];
      const y = (lane) => top + lane * LANE + LANE / 2;
      pen.beginPath();
      pen.moveTo(this.x(said), y(sender));
      pen.lineTo(this.x(heard), y(listener));
      pen.stroke();
      pen.beginPath();
      pen.arc(this.x(heard), y(listener), 4, 0, 7);
      pen.fill();
    }

    // -- The same in words

    tell() {
      const tables = this.films.map((film) => {
        const rows = film.lanes.map((name, lane) => this.row(film, lane, name));
        const { texts } = this;
        const head = [texts.who, texts.does, texts.since].map((text) => made("th", { scope: "col" }, text));
        const number = film.numbers[lastUpTo(film.numberTimes, this.time)]?.[0];
        const notes = film.missing.map((text) => made("p", {}, text));
        if (number !== undefined) notes.push(made("p", {}, say(texts.number, { number })));
        return made("div", {}, made("table", {}, made("caption", {}, film.title), made("thead", {}, made("tr", {}, ...head)), made("tbody", {}, ...rows)), ...notes);
      });
      this.moment.replaceChildren(...tables);
    }

    row(film, lane, name) {
      const [text, since] = lane < film.clients ? this.client(film, lane) : this.worker(film, lane);
      return made("tr", {}, made("th", { scope: "row" }, name), made("td", {}, text), made("td", {}, since === null ? "" : ms(this.time - since)));
    }

    client(film, lane) {
      const { times, lines } = film.linesOf[lane];
      const line = lines[lastUpTo(times, this.time)];
      if (!line) return [this.texts.nothing, null];
      const deed = this.texts.deed[line[2]] ?? line[2];
      let text = say(this.texts.last, { deed, text: line[3] });
      const { times: at, samples } = film.samplesOf[lane];
      const sample = samples[lastUpTo(at, this.time)];
      if (sample) text += ` · ${say(this.texts.unread, { received: sample[2], unsent: sample[3] })}`;
      return [text, line[1]];
    }

    worker(film, lane) {
      const { begins, ends } = film.byLane[lane];
      const bars = film.barsAt(lane, this.time);
      if (!bars.length) {
        const before = lastUpTo(begins, this.time);
        return [this.texts.idle, before < 0 ? null : ends[before]];
      }
      const parts = bars.map((bar) => this.words(film, bar));
      if (film.kind(bars[0]) === "lock.wait") {
        const holder = film.holder(film.what(bars[0]), this.time);
        if (holder >= 0) parts[0] += ` (${say(this.texts.holder, { who: film.lanes[holder] })})`;
      }
      return [parts.join(" · "), film.bars[1][bars[0]]];
    }
  }

  /** Start a player when it is seen first: a folded one costs nothing. */
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting || target.player) continue;
      target.player = new Player(target);
    }
  });
  for (const root of document.querySelectorAll(".player")) seen.observe(root);
})();
