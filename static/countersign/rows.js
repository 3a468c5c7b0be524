// Rows of a form: adds and removes them, and shows only the inputs that suit the row's kind.
// Without this module a page offers one spare row and a tick for removal.

function suit(row) {
  const kind = row.querySelector("select[name$='-kind']");
  if (!kind) return;
  for (const input of row.querySelectorAll("[data-kinds]")) {
    input.hidden = !input.dataset.kinds.split(" ").includes(kind.value);
  }
  row.dataset.kind = kind.value;
}

function remove(rows, row) {
  const next = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  rows.dispatchEvent(new Event("change", { bubbles: true }));
  (next?.querySelector("input, select") ?? rows.querySelector("[data-add]")).focus();
}

function prepare(rows, row) {
  row.querySelector("[data-remove-tick]").hidden = true;
  const button = row.querySelector("[data-remove]");
  button.hidden = false;
  button.addEventListener("click", () => remove(rows, row));
  const name = row.querySelector("input[name$='-name']");
  const legend = row.querySelector("legend");
  const noun = legend.textContent.split(":")[0];
  name?.addEventListener("input", () => {
    legend.textContent = name.value ? `${noun}: ${name.value}` : noun;
  });
  row.addEventListener("change", () => suit(row));
  suit(row);
}

for (const rows of document.querySelectorAll("[data-rows]")) {
  const list = rows.querySelector("[data-rows-list]");
  const template = rows.querySelector("template");
  const add = rows.querySelector("[data-add]");
  let number = list.children.length;
  // Where there are rows, the spare one is not needed: the button adds another.
  const spare = list.lastElementChild;
  if (number > 1 && ![...spare.querySelectorAll("input:not([type=checkbox]), textarea")].some((input) => input.value)) {
    spare.remove();
  }
  for (const row of list.children) prepare(rows, row);
  add.hidden = false;
  add.addEventListener("click", () => {
    const holder = document.createElement("div");
    // Only our own template is parsed, and the number is the only thing put into it.
    holder.append(template.content.cloneNode(true));
    for (const element of holder.querySelectorAll("*")) {
      for (const attribute of element.attributes) {
        if (attribute.value.includes("__number__")) attribute.value = attribute.value.replaceAll("__number__", number);
      }
    }
    number += 1;
    const row = holder.firstElementChild;
    list.append(row);
    prepare(rows, row);
    row.querySelector("input, select").focus();
  });
}
