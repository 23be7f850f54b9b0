// Numbers, times and labels as texts beside axes, and where on an axis they stand.
"use strict";

/** Return the labels without what all begin with, up to a slash: the name of the run, mostly. */
function withoutCommon(labels) {
  const [first = ""] = labels;
  let common = labels.length > 1 ? first.length : 0;
  for (const label of labels) {
    while (!label.startsWith(first.slice(0, common))) common -= 1;
  }
  const start = first.lastIndexOf("/", common - 1) + 1;
  return labels.map((label) => (label.length > start ? label.slice(start) : label));
}

/** Return about so many round numbers between two, each with the distance to the next. */
function linearTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * (1 - 1e-9));
  const first = Math.ceil(low / step);
  const ticks = [];
  for (let i = 0; i <= 2 * count && (first + i) * step <= high; i++) ticks.push({ value: (first + i) * step, step });
  return ticks;
}

/** Return powers of ten, and where there is room numbers between them; those without a step have no text. */
function logTicks(low, high, count) {
  const decades = Math.log10(high) - Math.log10(low);
  if (decades < 0.7) return linearTicks(low, high, count);
  const every = Math.ceil(decades / count);
  const named = decades < 1.5 ? [1, 2, 3, 5, 7] : decades < count / 2.5 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    if (power % every) continue;
    for (const factor of decades < 2 * count && every === 1 ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : [1]) {
      const value = Number(`${factor}e${power}`);
      if (value >= low && value <= high) ticks.push({ value, step: named.includes(factor) && value });
    }
  }
  return ticks;
}

/** Return a number as text, as exact as neighbours in such a distance need. */
function numberText(value, step) {
  const size = Math.abs(value);
  if (size < step / 2) return "0";
  const digits = Math.max(0, Math.ceil(Math.log10(size / step) - 1e-9));
  // Times of day, in seconds, are large and close together; powers of ten are large and far apart.
  if ((size >= 1e-4 && size < 1e6) || digits > 4) return String(Number(value.toPrecision(Math.min(15, digits + 2))));
  return value.toExponential(digits).replace(/(\.\d*?)0+e/, "$1e").replace(".e", "e").replace("e+", "e");
}

/** Return a time in seconds as text, as exact as neighbours in such a distance need. */
function timeText(seconds, step) {
  const digits = Math.min(3, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  const exact = Math.round(seconds * 10 ** digits) / 10 ** digits;
  const time = new Date(exact * 1000);
  const two = (number) => String(number).padStart(2, "0");
  if (step >= 86400) return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  const minutes = `${two(time.getHours())}:${two(time.getMinutes())}`;
  return step >= 60 ? minutes : `${minutes}:${(exact % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}`;
}

function rounded(value, span) {
  const digits = Math.max(1, Math.min(15, Math.ceil(Math.log10(Math.abs(value) / span || 1)) + 4));
  return String(Number(value.toPrecision(digits)));
}
