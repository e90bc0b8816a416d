// Adds to a page what HTML alone cannot do: one button to play, a cursor on the piano roll that can
// be moved, notes that light up as they sound, and the next day at the end. Without this script the
// page has the browser's own player. Reads the notes from the roll's paths (midi_save/publishing/
// roll.py) and depends on nothing else.
"use strict";

(() => {
  const audio = document.querySelector(".player audio");
  const roll = document.querySelector(".roll");
  if (!audio || !roll) return;

  const STEP_S = 5; // of an arrow key
  const LEAP_S = 15; // of page up and page down
  const GO_ON = "go on to the next day"; // the name under which the browser remembers the choice
  const AT_ONCE = "#play"; // at the end of an address: play as soon as the page is there
  const SVG = "http://www.w3.org/2000/svg";
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const next = document.querySelector("a[rel=next]");
  const duration = Number(audio.dataset.seconds); // of the sound
  const across = Number(roll.dataset.seconds); // of the drawing, which ends with the last note
  const drawing = roll.querySelector("svg");
  const plane = roll.querySelector(".plane");
  const unit = across / plane.viewBox.baseVal.width; // seconds

  const clock = (seconds) => {
    const two = (number) => String(Math.floor(number) % 60).padStart(2, "0");
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60)];
    return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds)}`;
  };
  const inWords = (seconds) => {
    const [minutes, rest] = [Math.floor(seconds / 60), Math.floor(seconds) % 60];
    const name = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
    return minutes ? `${name(minutes, "minute")} ${name(rest, "second")}` : name(rest, "second");
  };
  const make = (parent, name, attributes, svg = false) => {
    const made = svg ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  };

  // The button, the time and the choice take the place of the browser's player.
  audio.controls = false;
  const button = make(audio.parentNode, "button", { type: "button", class: "play" });
  const icon = make(make(button, "svg", { viewBox: "0 0 24 24", "aria-hidden": true }, true), "path", {}, true);
  const time = make(audio.parentNode, "span", { class: "time" });
  const passed = make(time, "b", {});
  time.append(` / ${clock(duration)}`);
  const trouble = make(audio.parentNode, "p", { class: "trouble", role: "status", hidden: "" });
  let choice = null;
  if (next) {
    const label = make(audio.parentNode, "label", { class: "go-on" });
    choice = make(label, "input", { type: "checkbox" });
    label.append("Then play the next day");
    choice.checked = remembered() === "yes";
    choice.addEventListener("change", () => remember(choice.checked ? "yes" : "no"));
  }

  // A browser may forbid a page to remember anything.
  function remembered() {
    try { return localStorage.getItem(GO_ON); } catch { return null; }
  }
  function remember(value) {
    try { localStorage.setItem(GO_ON, value); } catch { /* then it holds for this page */ }
  }

  // The roll becomes a slider. Its drawing's title would cover it as a tooltip.
  const title = drawing.querySelector("title");
  const description = drawing.querySelector("desc");
  make(roll.parentNode, "p", { id: "roll-words", hidden: "" }).textContent = description.textContent;
  const slider = {
    role: "slider", tabindex: 0, "aria-label": `${title.textContent}. Position in the piece`,
    "aria-describedby": "roll-words", "aria-valuemin": 0, "aria-valuemax": Math.round(duration),
  };
  for (const [key, value] of Object.entries(slider)) roll.setAttribute(key, value);
  drawing.removeAttribute("aria-labelledby");
  drawing.setAttribute("aria-hidden", "true");
  title.remove();
  description.remove();
  const played = make(drawing, "rect", { class: "played", height: "100%", width: 0 }, true);
  const cursor = make(drawing, "line", { class: "cursor", y1: 0, y2: "100%" }, true);

  // The notes of each part, in slices of a second, so that a moment's notes are found at once.
  // "m12 3h5" moves to a note's beginning and draws it; moves count from the end of the one before.
  const parts = [...plane.querySelectorAll(".part")].map((group) => {
    const slices = new Map();
    for (const path of group.querySelectorAll("path")) {
      let [x, y] = [0, 0];
      for (const [, dx, dy, length] of path.getAttribute("d").matchAll(/m(-?\d+) ?(-?\d+)h(\d+)/g)) {
        x += Number(dx);
        y += Number(dy);
        const note = { from: x * unit, to: (x + Number(length)) * unit, d: `M${x} ${y}h${length}` };
        x += Number(length);
        for (let slice = Math.floor(note.from); slice <= note.to; slice += 1) {
          if (!slices.has(slice)) slices.set(slice, []);
          slices.get(slice).push(note);
        }
      }
    }
    return { slices, lit: make(group, "path", { class: "sounding" }, true), d: "" };
  });

  const place = (seconds) => `${(100 * Math.min(1, seconds / across)).toFixed(3)}%`;

  function show() {
    const now = audio.currentTime;
    played.setAttribute("width", place(now));
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, place(now));
    passed.textContent = clock(now);
    roll.setAttribute("aria-valuenow", Math.round(now));
    roll.setAttribute("aria-valuetext", `${inWords(now)} of ${inWords(duration)}`);
    for (const part of parts) {
      const near = part.slices.get(Math.floor(now)) ?? [];
      const sounding = audio.paused ? [] : near.filter((note) => note.from <= now && now < note.to);
      const d = sounding.map((note) => note.d).join("");
      if (d !== part.d) part.lit.setAttribute("d", (part.d = d));
    }
  }

  function follow() {
    show();
    // Who asks for less motion gets a cursor that steps four times a second, with "timeupdate".
    if (!audio.paused && !still.matches) requestAnimationFrame(follow);
  }

  function showState() {
    button.setAttribute("aria-label", audio.paused ? "Play" : "Pause");
    icon.setAttribute("d", audio.paused ? "M7 4l14 8-14 8z" : "M6 4h4v16H6zM14 4h4v16h-4z");
    follow();
  }

  function toggle() {
    trouble.hidden = true;
    if (!audio.paused) audio.pause();
    else audio.play().catch((error) => {
      if (error.name === "AbortError" || error.name === "NotAllowedError") return;
      trouble.textContent = "The sound could not be loaded.";
      trouble.hidden = false;
    });
  }

  function seek(seconds) {
    audio.currentTime = Math.max(0, Math.min(duration, seconds));
    show();
  }

  function seekTo(event) {
    const box = roll.getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * across);
  }

  button.addEventListener("click", toggle);
  roll.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    roll.setPointerCapture(event.pointerId);
    seekTo(event);
  });
  roll.addEventListener("pointermove", (event) => {
    if (roll.hasPointerCapture(event.pointerId)) seekTo(event);
  });
  roll.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const to = {
      ArrowRight: audio.currentTime + STEP_S, ArrowUp: audio.currentTime + STEP_S,
      ArrowLeft: audio.currentTime - STEP_S, ArrowDown: audio.currentTime - STEP_S,
      PageUp: audio.currentTime + LEAP_S, PageDown: audio.currentTime - LEAP_S,
      Home: 0, End: duration,
    }[event.key];
    if (event.key === " ") toggle();
    else if (to === undefined) return;
    else seek(to);
    event.preventDefault();
  });

  for (const name of ["play", "pause"]) audio.addEventListener(name, showState);
  for (const name of ["timeupdate", "seeked"]) audio.addEventListener(name, show);
  audio.addEventListener("ended", () => {
    if (choice?.checked) location.assign(next.href + AT_ONCE);
  });

  // What a phone's lock screen and a keyboard's media keys show and do.
  if ("mediaSession" in navigator) {
    audio.addEventListener("play", () => {
      // A browser complains of pictures that are on its disk.
      const picture = { src: new URL(audio.dataset.picture, location.href).href, sizes: "1200x630", type: "image/png" };
      const artwork = location.protocol === "file:" ? [] : [picture];
      navigator.mediaSession.metadata = new MediaMetadata({ title: audio.dataset.title, artist: audio.dataset.artist, artwork });
    }, { once: true });
  }

  showState();
  if (location.hash === AT_ONCE) toggle();
})();
