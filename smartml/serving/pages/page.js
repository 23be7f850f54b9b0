// Asks people for the inputs of the model, sends them, and shows the answer. Whatever comes from outside becomes text,
// never markup.
"use strict";

const $ = (id) => document.getElementById(id);
let token = "";
let readers = {};
let outputs = {};
// Of an array so many values are shown.
const MOST_VALUES = 200;

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  return fetch(path, { ...options, headers });
}

function base64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

// A file that is chosen or dropped; `show` is told of it.
function fileChooser(fieldset, show) {
  const chooser = make("input", { type: "file" });
  chooser.addEventListener("change", () => show());
  fieldset.addEventListener("dragover", (event) => { event.preventDefault(); fieldset.classList.add("over"); });
  fieldset.addEventListener("dragleave", () => fieldset.classList.remove("over"));
  fieldset.addEventListener("drop", (event) => {
    event.preventDefault();
    fieldset.classList.remove("over");
    if (event.dataTransfer.files.length) { chooser.files = event.dataTransfer.files; show(); }
  });
  return chooser;
}

async function bytesOf(chooser) {
  return new Uint8Array(await chooser.files[0].arrayBuffer());
}

// How each type of input is asked for: fills the fieldset, returns a function that reads what /predict takes.
const askers = {
  bytes(fieldset, field) {
    const text = make("textarea", { placeholder: "paste text" });
    const chooser = fileChooser(fieldset, () => { text.value = ""; });
    text.addEventListener("input", () => { chooser.value = ""; });
    fieldset.append(
      make("label", {}, "Text, sent as UTF-8", text),
      make("label", {}, "or a file, chosen or dropped here", chooser),
      make("p", { className: "hint", textContent: `The model reads ${field.max_length} bytes.` }),
    );
    return async () => base64(chooser.files.length ? await bytesOf(chooser) : new TextEncoder().encode(text.value));
  },
  sequence(fieldset) {
    const text = make("textarea", { placeholder: "paste text" });
    const chooser = fileChooser(fieldset, async () => { text.value = await chooser.files[0].text(); });
    fieldset.append(
      make("label", {}, "Text", text), make("label", {}, "or a text file, chosen or dropped here", chooser),
    );
    return async () => text.value;
  },
  image(fieldset, field) {
    const chooser = fileChooser(fieldset, () => {});
    chooser.required = true;
    chooser.accept = "image/*";
    fieldset.append(
      make("label", {}, "An image file, chosen or dropped here", chooser),
      make("p", { className: "hint", textContent: `It is brought to ${field.shape.join(" × ")}.` }),
    );
    return async () => base64(await bytesOf(chooser));
  },
  array(fieldset, field) {
    const text = make("textarea", { placeholder: "numbers, by commas or spaces" });
    const chooser = fileChooser(fieldset, () => { text.value = ""; });
    const count = field.shape.reduce((product, length) => product * length, 1);
    fieldset.append(
      make("label", {}, `${count} numbers, row by row`, text),
      make("label", {}, "or a file of raw values, chosen or dropped here", chooser),
      make("p", { className: "hint", textContent: `Shape ${field.shape.join(" × ")}, dtype ${field.dtype}.` }),
    );
    return async () => {
      if (chooser.files.length) return base64(await bytesOf(chooser));
      const numbers = text.value.split(/[\s,;[\]]+/).filter(Boolean).map(Number);
      if (numbers.length !== count) throw new Error(`${numbers.length} numbers are given, ${count} are needed`);
      if (numbers.some(Number.isNaN)) throw new Error("not all of these are numbers");
      return base64(packed(numbers, field.dtype));
    };
  },
  tabular(fieldset, field) {
    const cells = Object.entries(field.columns).map(([name, column]) => {
      const cell = column.type === "number"
        ? make("input", { type: "number", step: "any", required: true })
        : make("select", {}, ...column.values.map((value) => make("option", { value, textContent: value })));
      fieldset.append(make("label", {}, name, cell));
      return [name, () => (column.type === "number" ? Number(cell.value) : cell.value)];
    });
    return async () => Object.fromEntries(cells.map(([name, read]) => [name, read()]));
  },
};

// Numbers as bytes of a dtype such as <f4, little endian.
function packed(numbers, dtype) {
  const writers = {
    f4: [4, "setFloat32"], f8: [8, "setFloat64"], i1: [1, "setInt8"], i2: [2, "setInt16"], i4: [4, "setInt32"],
    u1: [1, "setUint8"], u2: [2, "setUint16"], u4: [4, "setUint32"], b1: [1, "setUint8"],
  };
  const writer = writers[dtype.slice(1)];
  if (!writer) throw new Error(`numbers of dtype ${dtype} cannot be typed here: give a file`);
  const view = new DataView(new ArrayBuffer(numbers.length * writer[0]));
  numbers.forEach((number, index) => view[writer[1]](index * writer[0], number, true));
  return new Uint8Array(view.buffer);
}

async function begin() {
  const response = await ask("info");
  $("access").hidden = response.status !== 401;
  $("question").hidden = !response.ok;
  if (!response.ok) {
    if (response.status !== 401) showProblem((await response.json()).detail);
    return;
  }
  const info = await response.json();
  $("checkpoint").textContent = info.checkpoint;
  outputs = info.outputs;
  $("inputs").replaceChildren();
  readers = {};
  for (const [name, field] of Object.entries(info.inputs)) {
    const fieldset = make("fieldset", {}, make("legend", { textContent: name }));
    readers[name] = askers[field.type](fieldset, field);
    $("inputs").append(fieldset);
  }
}

async function send() {
  const sample = {};
  for (const [name, read] of Object.entries(readers)) {
    try {
      sample[name] = await read();
    } catch (error) {
      throw new Error(`${name}: ${error.message}`);
    }
  }
  const response = await ask("predict", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify([sample]),
  });
  const answer = await response.json();
  if (!response.ok) { showProblem(answer.detail); return; }
  $("checkpoint").textContent = decodeURIComponent(response.headers.get("smartml-checkpoint"));
  $("reply").replaceChildren(...Object.entries(answer.result[0]).flatMap(showOutput));
}

function showProblem(detail) {
  const lines = Array.isArray(detail) ? detail.map((one) => `${one.loc.slice(1).join(" → ")}: ${one.msg}`) : [detail];
  $("reply").replaceChildren(...lines.map((line) => make("p", { className: "problem", textContent: line })));
}

function showOutput([name, value]) {
  const heading = make("h2", { textContent: name });
  if (outputs[name].type === "array") return [heading, ...showArray(value, outputs[name])];
  if (typeof value === "string") return [heading, make("pre", { textContent: value })];
  return [heading, ...Object.entries(value).flatMap(([column, numbers]) => showColumn(column, numbers))];
}

function showArray(text, field) {
  if (field.dtype !== "<f4") return [make("pre", { textContent: text })];
  const view = new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const count = Math.min(view.byteLength / 4, MOST_VALUES);
  const values = Array.from({ length: count }, (_, index) => shortened(view.getFloat32(4 * index, true)));
  const rest = view.byteLength / 4 - count;
  return [
    make("p", { className: "hint", textContent: `Shape ${field.shape.join(" × ")}, row by row` }),
    make("pre", { textContent: values.join("  ") + (rest ? `  … and ${rest} more` : "") }),
  ];
}

function shortened(number) {
  return String(Number(number.toPrecision(6)));
}

function showColumn(column, numbers) {
  const entries = Object.entries(numbers);
  if (entries.length === 1 && entries[0][0] === column) {
    return [make("p", { textContent: `${column}: ${entries[0][1] === null ? "no finite number" : shortened(entries[0][1])}` })];
  }
  entries.sort((one, other) => other[1] - one[1]);
  return [make("p", { textContent: column }), ...entries.map(([label, share]) => bar(label, share))];
}

function bar(label, share) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("viewBox", "0 0 100 1");
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  const filled = document.createElementNS(space, "rect");
  filled.setAttribute("width", String(100 * (share ?? 0)));
  filled.setAttribute("height", "1");
  picture.append(filled);
  return make("div", { className: "bar" }, make("span", { textContent: label }),
    make("div", { className: "track" }, picture),
    make("span", { textContent: share === null ? "none" : `${(100 * share).toFixed(1)} %` }));
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  begin();
});
$("question").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter;
  button.disabled = true;
  try {
    await send();
  } catch (error) {
    showProblem(error.message);
  } finally {
    button.disabled = false;
    $("reply").scrollIntoView({ block: "nearest" });
  }
});
begin().catch((error) => showProblem(error.message));
