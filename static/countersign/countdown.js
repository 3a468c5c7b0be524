// Counts down to each [data-expires] time; without this script the time itself is shown.

function left(seconds) {
  if (seconds <= 0) return "expired";
  if (seconds < 60) return `${seconds} s left`;
  return `${Math.ceil(seconds / 60)} min left`;
}

function show() {
  for (const element of document.querySelectorAll("time[data-expires]")) {
    const text = left(Math.round((Date.parse(element.dateTime) - Date.now()) / 1000));
    if (element.textContent !== text) element.textContent = text;
  }
}

show();
setInterval(show, 1000);
document.addEventListener("list-changed", show);
