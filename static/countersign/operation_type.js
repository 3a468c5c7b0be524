// The form of an operation type or role: refreshes the preview while it is edited, and inserts fields into the texts.
// Without this module, the buttons of the preview send the form into the frame.

const PAUSE_MS = 400;
const FORMATTERS = { money: "money", date: "date", moment: "time", url: "host", list: "list" };

const preview = document.querySelector("[data-preview]");
const form = preview?.closest("form");

function startPreview() {
  const frame = preview.querySelector("iframe");
  let manner = "plain";
  let timer = 0;
  let latest = 0;

  async function refresh() {
    const number = ++latest;
    const data = new FormData(form);
    data.set("preview_manner", manner);
    try {
      const response = await fetch(preview.dataset.preview, { method: "POST", body: data, redirect: "error" });
      const text = await response.text();
      if (number === latest) frame.srcdoc = text;
    } catch (error) {
      console.warn("the preview could not be read:", error); // the next change tries again
    }
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(refresh, PAUSE_MS);
  }

  const buttons = [...preview.querySelectorAll("button[name=preview_manner]")];
  function choose(value) {
    manner = value;
    for (const button of buttons) button.setAttribute("aria-pressed", button.value === manner);
  }
  for (const button of buttons) {
    button.addEventListener("click", (event) => {
      event.preventDefault();
      choose(button.value);
      refresh();
    });
  }
  choose(manner);
  form.addEventListener("input", soon);
  form.addEventListener("change", soon);
  refresh();
}

function fieldsOfRows() {
  const found = [];
  const input = (row, name) => row.querySelector(`[name$='-${name}']`);
  const nameOf = (row) => input(row, "name")?.value.trim() ?? "";
  // A wording names required fields only, and no field with a hyphen.
  const rows = [...form.querySelectorAll("[data-rows-list] > [data-row]")]
    .filter((row) => /^\w+(\.\w+)*$/.test(nameOf(row)) && input(row, "required").checked);
  const names = rows.map(nameOf);
  for (const row of rows) {
    const name = nameOf(row);
    let formatter = FORMATTERS[input(row, "kind").value];
    if (formatter === "money" && names.includes("currency")) formatter = "money:currency";
    found.push(`{${name}${formatter ? `|${formatter}` : ""}}`);
  }
  return found;
}

function insertInto(input, text) {
  const { selectionStart: start, selectionEnd: end } = input;
  input.setRangeText(text, start, end, "end");
  input.focus();
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

function startInsertion() {
  for (const input of form.querySelectorAll("#id_title, #id_summary")) {
    const bar = document.createElement("p");
    bar.className = "insertions";
    input.closest(".form-row").append(bar);
    let shown = "";
    const draw = () => {
      const fields = fieldsOfRows();
      if (fields.join() === shown) return;
      shown = fields.join();
      const buttons = fields.map((field) => {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "button";
        button.textContent = field; // text, never HTML: an administrator may have pasted the name
        button.setAttribute("aria-label", `Insert ${field}`);
        button.addEventListener("click", () => insertInto(input, field));
        return button;
      });
      bar.replaceChildren(...buttons);
    };
    form.addEventListener("input", draw);
    form.addEventListener("change", draw);
    draw();
  }
}

if (form) {
  startPreview();
  if (form.querySelector("[data-rows='schema']")) startInsertion();
}
