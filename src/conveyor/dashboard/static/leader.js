// Which tab of a browser leads: that one alone has the stream. Where the browser has locks, they decide. It has none on
// plain HTTP by a name that is not localhost; there the tabs agree by word. `began` and `ended` are called when this tab
// begins and ceases to lead; `seek` wants that, `withdraw` no longer does, `leave` ends it, too.

const BEAT = 2000; // ms between two words of the leader
const SILENT = 6000; // ms without one until another asks who leads
const ANSWER = 300; // ms that the asking tab waits before it leads

export function byLock(name, { began, ended }) {
  let pending = null;
  let release = null;
  const seek = () => {
    if (pending || release) return;
    const mine = new AbortController();
    pending = mine;
    navigator.locks.request(name, { signal: mine.signal }, () => {
      if (pending !== mine) return undefined; // withdrawn while it was granted
      pending = null;
      if (document.hidden) return undefined;
      return new Promise((done) => { release = done; began(); });
    }).catch(() => {});
  };
  const withdraw = () => { pending?.abort(); pending = null; };
  const leave = () => {
    withdraw();
    const done = release;
    release = null;
    if (done) { ended(); done(); }
  };
  return { seek, withdraw, leave, leads: () => release !== null, take() {} };
}

// A tab that hears of no leader asks; without an answer, it leads. Of several that ask at once, and of two that came to
// lead, as after one of them had been asleep, the one with the lesser name does. A leader that crashed is just silent.
export function byWord(me, post, { began, ended }) {
  let state = "out"; // waiting, asking, leading
  let timer;

  function become(next, ms, then) {
    clearTimeout(timer);
    state = next;
    timer = then && setTimeout(then, ms);
  }
  const say = (word) => post({ kind: "lead", word, tab: me });
  const wait = () => become("waiting", SILENT + Math.random() * ANSWER, ask);
  function ask() {
    say("who");
    become("asking", ANSWER, () => { beat(); began(); });
  }
  function beat() {
    say("I do");
    become("leading", BEAT, beat);
  }
  function take({ word, tab }) {
    if (word === "who") {
      if (state === "leading") say("I do");
      else if (state === "asking" && me < tab) say("I shall");
    } else if (word === "I do") {
      if (state === "leading" && me < tab) say("I do");
      else if (state === "leading") { wait(); ended(); } else if (state !== "out") wait();
    } else if (word === "I shall" && state === "asking" && tab < me) wait();
    else if (word === "nobody" && state === "waiting") become("waiting", Math.random() * ANSWER, ask);
  }
  const leave = () => {
    const led = state === "leading";
    become("out");
    if (led) { say("nobody"); ended(); }
  };
  return {
    seek() { if (state === "out") ask(); },
    withdraw() { if (state !== "leading") become("out"); },
    leave,
    leads: () => state === "leading",
    take,
  };
}
